"""A long-lived process looks for garbage less often, and never through what it loaded.

In a process of its own: the one that runs the tests keeps its ways.
"""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import gc, weakref
from config.garbage import OBJECTS_BETWEEN_LOOKS, look_for_garbage_less_often

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
"""


def test_what_is_loaded_is_not_looked_through_again_and_later_garbage_is_found():
    root = Path(__file__).resolve().parents[2]
    run = subprocess.run([sys.executable, "-c", PROGRAM], cwd=root, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
