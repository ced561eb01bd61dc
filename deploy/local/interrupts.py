"""Stop requests: Ctrl-C, SIGTERM and SIGHUP set a flag, and every wait of this package looks at it.

A handler that raised could strike between the birth of a child and the note of its pid; a flag cannot.
"""

import signal
import time
from types import FrameType

SLICE_SECONDS = 0.05

_received: list[int] = []


class StopRequestedError(Exception):
    """Somebody asked this process to stop."""


def install() -> None:
    """Catch the three signals. SIGHUP stays ignored where `nohup` made it so."""
    signal.signal(signal.SIGINT, _note)
    signal.signal(signal.SIGTERM, _note)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _note)


def _note(number: int, _frame: FrameType | None) -> None:
    _received.append(number)


def count() -> int:
    """How many stop requests came; two or more mean "hurry"."""
    return len(_received)


def check() -> None:
    """Raise Interrupted if a stop was asked for."""
    if _received:
        raise StopRequestedError


def pause(seconds: float) -> None:
    """Sleep, but raise StopRequestedError within SLICE_SECONDS of a stop request."""
    end = time.monotonic() + seconds
    check()
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, SLICE_SECONDS))
        check()
