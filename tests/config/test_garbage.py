"""A long-lived process looks for garbage less often, and never through what it loaded."""

import gc
import weakref

import pytest

from config.garbage import OBJECTS_BETWEEN_LOOKS, look_for_garbage_less_often


class Node:
    """Something that can be part of a cycle."""


@pytest.fixture(autouse=True)
def _as_before():
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


def test_what_is_loaded_is_not_looked_through_again():
    loaded = Node()
    look_for_garbage_less_often()
    assert gc.get_freeze_count() > 10_000
    assert not any(each is loaded for each in gc.get_objects())
    assert gc.get_threshold()[0] == OBJECTS_BETWEEN_LOOKS


def test_garbage_that_comes_later_is_still_found():
    look_for_garbage_less_often()
    cycle = Node()
    cycle.itself = cycle
    gone = weakref.ref(cycle)
    del cycle
    keep = [Node() for _ in range(2 * OBJECTS_BETWEEN_LOOKS)]
    assert gone() is None
    assert keep
