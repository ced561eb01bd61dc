"""Teams of OpenMP threads: an engine that idles has none.

libgomp keeps a team of threads for each thread that ever computed. While it has more of them than there are cores, a
team sleeps between any two operations, instead of waiting actively for the next. So a second model halved the speed of
the first while it only lay in memory: 57 tokens a second instead of 80 (docs/performance.md). OpenMP 5.0 has a call
that ends the team of the thread that calls it; the next operation makes another, in a fraction of a millisecond.
"""

import ctypes
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch

SOFT = 1  # omp_pause_soft: what the team knows, such as its size, stays


class IdleWait(threading.Event):
    """An event whose waiting costs no team: for a thread that computes, and has nothing to compute now."""

    def wait(self, timeout: float | None = None) -> bool:
        """As ever, after the team of this thread was ended."""
        end_team()
        return super().wait(timeout)


def end_team() -> None:
    """End the OpenMP threads that compute for the calling thread, if it has some."""
    _pause_resources()(SOFT)


@cache
def _pause_resources() -> Callable[[int], object]:
    """The function of the OpenMP library that torch brought along; one that does nothing where it brought none."""
    for library in sorted((Path(torch.__file__).parent / "lib").glob("lib*omp*")):
        try:
            pause = ctypes.CDLL(str(library)).omp_pause_resource_all
        except (OSError, AttributeError):  # not a library of OpenMP, or of one before 5.0
            continue
        pause.argtypes, pause.restype = [ctypes.c_int], ctypes.c_int
        return pause
    return lambda _kind: None
