"""Ends the team of OpenMP threads of an engine that is idle.

libgomp keeps a team of threads for each thread that ever computed. If it has more threads than there are cores, a team
sleeps between any two operations instead of actively waiting for the next one. So a second model, which was only loaded
and idle, slowed the first one down: 57 tokens a second instead of 80 (docs/performance.md). OpenMP 5.0 has a function
that ends the team of the calling thread. The next operation makes a new team in a fraction of a millisecond.
"""

import ctypes
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch

SOFT = 1  # omp_pause_soft: keeps OpenMP's state, such as the number of threads


class IdleWait(threading.Event):
    """An event for a thread that computes: while it waits for the event, it has no team of OpenMP threads."""

    def wait(self, timeout: float | None = None) -> bool:
        """As `threading.Event.wait`, after ending the team of this thread."""
        end_team()
        return super().wait(timeout)


def end_team() -> None:
    """End the OpenMP team of the calling thread, if it has one."""
    _pause_resources()(SOFT)


@cache
def _pause_resources() -> Callable[[int], object]:
    """`omp_pause_resource_all` of torch's OpenMP library; a function that does nothing if there is no such library."""
    for library in sorted((Path(torch.__file__).parent / "lib").glob("lib*omp*")):
        try:
            pause = ctypes.CDLL(str(library)).omp_pause_resource_all
        except (OSError, AttributeError):  # not a library of OpenMP, or of one before 5.0
            continue
        pause.argtypes, pause.restype = [ctypes.c_int], ctypes.c_int
        return pause
    return lambda _kind: None
