"""A long-lived process looks for garbage less often, and not through what it has loaded.

In a process of its own: the one that runs the tests keeps its ways.
"""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import gc, weakref
import django
django.setup()
from core.garbage import OBJECTS_BETWEEN_LOOKS, look_for_garbage_less_often

class Node:
    pass

loaded = Node()
look_for_garbage_less_often()
assert gc.get_freeze_count() > 1000
assert not any(each is loaded for each in gc.get_objects())
assert gc.get_threshold()[0] == OBJECTS_BETWEEN_LOOKS > 700

cycle = Node()
cycle.itself = cycle
gone = weakref.ref(cycle)
del cycle
kept = [Node() for _ in range(2 * OBJECTS_BETWEEN_LOOKS)]
assert gone() is None, "garbage that comes later is still found"

from unittest.mock import Mock
from inference.worker.loader import CatalogueLoader

model = Node()
model.itself = model
freed = weakref.ref(model)
look_for_garbage_less_often()
del model
CatalogueLoader.reclaim(Mock(device=Mock(kind="cpu")))
assert freed() is None, "a model that was loaded when the process began is given back"
"""


def test_only_what_is_loaded_is_not_looked_through_again():
    root = Path(__file__).resolve().parents[2]
    run = subprocess.run([sys.executable, "-c", PROGRAM], cwd=root, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
