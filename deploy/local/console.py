"""What the terminal shows: one line a step with its seconds, live on a terminal, plain lines elsewhere."""

import contextlib
import os
import shutil
import sys
import time
from pathlib import Path
from types import TracebackType

HEARTBEAT_SECONDS = 20.0


_CLEAR_LINE = "\r\033[K"

_line_is_open = False  # a step's live line stands on the terminal, without its newline


def say(text: str = "") -> None:
    """Print a line at once."""
    _write((_CLEAR_LINE if _line_is_open else "") + text + "\n", leaves_open=False)


def _write(text: str, *, leaves_open: bool) -> None:
    """A terminal that is gone must not stop a shutdown, so its errors are swallowed."""
    global _line_is_open
    try:
        print(text, end="", flush=True)
        _line_is_open = leaves_open
    except OSError:
        _mute()


def _mute() -> None:
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def tail(path: Path, lines: int = 25) -> str:
    """The last lines of a log, indented; says so where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 20_000))
            text = file.read().decode(errors="replace").splitlines()[-lines:]
    except OSError:
        text = []
    return "\n".join(f"    {line}" for line in text or ["(nothing was logged)"])


class Step:
    """One step of a start, as a context manager: `with Step("Migrating") as step: step.note("...")`.

    On a terminal the line is rewritten in place. Elsewhere each note is a line of its own under the title,
    and a long silence gets a line every HEARTBEAT_SECONDS.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self._live = sys.stdout.isatty()
        self._note = ""
        self._started_at = self._spoke_at = time.monotonic()
        self._announced = False

    @property
    def seconds(self) -> float:
        """Time since the step began."""
        return time.monotonic() - self._started_at

    def __enter__(self) -> "Step":
        self.tick()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        outcome = "" if kind is None else " (interrupted)" if kind.__name__ == "StopRequestedError" else " (failed)"
        say(f"  {self.title}: {self.seconds:.1f} s{outcome}")

    def note(self, text: str) -> None:
        """Say what the step is busy with."""
        self._note = text.strip()
        if self._live:
            self.tick()
        else:
            self._plain(self._note)

    def tick(self) -> None:
        """Keep the display alive; call it a few times a second while waiting."""
        if self._live:
            line = f"  {self.title} ... {self.seconds:.0f} s  {self._note}"
            width = shutil.get_terminal_size().columns
            _write(_CLEAR_LINE + line[: width - 1], leaves_open=True)
        elif time.monotonic() - self._spoke_at > HEARTBEAT_SECONDS:
            self._plain(f"still at it after {self.seconds:.0f} s")

    def _plain(self, text: str) -> None:
        if not self._announced:
            self._announced = True
            say(f"  {self.title} ...")
        self._spoke_at = time.monotonic()
        say(f"    {text}")


def tolerate_any_character() -> None:
    """Never fail on a character that the terminal's encoding lacks."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")
