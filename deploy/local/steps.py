"""One setup command (pip, manage.py ...): run, show what it is at, log it, stop it on request."""

import os
import selectors
import subprocess
from collections import deque
from collections.abc import Callable
from pathlib import Path

from deploy.local import interrupts, processes
from deploy.local.console import Step
from deploy.local.errors import StepFailedError
from deploy.local.processes import Record
from deploy.local.runtime import ROOT, open_log

LINES_KEPT = 40
_TICK_SECONDS = 0.1


class Command:
    """A command with one step on the terminal. The whole process group ends with it."""

    def __init__(
        self,
        title: str,
        arguments: list[str],
        *,
        environment: dict[str, str],
        log: Path = Path(os.devnull),
        note: Callable[[str], str] = str,
        track: Callable[[Record | None], None] = lambda _record: None,
        keep_open: tuple[int, ...] = (),
        keep_lines: int | None = LINES_KEPT,
    ) -> None:
        """`note` turns an output line into what to show ("" for nothing).

        `track` is told the process while it runs and None afterwards, so that it can be found should we be
        killed. `keep_open` are descriptors the command inherits, such as that of a lock. `keep_lines` of
        the output are remembered; None means all.
        """
        self.title = title
        self.lines: deque[str] = deque(maxlen=keep_lines)
        self._arguments = arguments
        self._environment = environment
        self._log = log
        self._note = note
        self._track = track
        self._keep_open = keep_open
        self._is_failing = False

    def run(self) -> list[str]:
        """The last lines printed. Raises StepFailedError; or StopRequestedError, once the command is gone."""
        with Step(self.title) as step:
            status = self.status(step)
            if status != 0:
                raise StepFailedError(f"{self.title}: failed with status {status}.\n{self.last_lines()}")
        return list(self.lines)

    def last_lines(self) -> str:
        """The end of the output, indented."""
        return "\n".join(f"    {line}" for line in self.lines) or "    (it printed nothing)"

    def status(self, step: Step) -> int:
        """Run it under a step and return its exit status."""
        interrupts.check()
        child = subprocess.Popen(
            self._arguments,
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=self._keep_open,
        )
        record = Record(name=self.title, pid=child.pid, mark=" ".join(self._arguments[1:]), role="step")
        try:
            self._track(record)
            self._relay(child, step)
        except BaseException:
            processes.stop([record], child.poll)
            raise
        finally:
            processes.kill_group(child.pid)
            child.wait()
            if child.stdout is not None:
                child.stdout.close()
            self._track(None)
        return child.returncode

    def _relay(self, child: "subprocess.Popen[bytes]", step: Step) -> None:
        """Read the output until the command ends; a grandchild that keeps the pipe open is not waited for."""
        pipe = child.stdout
        if pipe is None:
            raise RuntimeError("the command was started without a pipe")
        rest = b""
        with selectors.DefaultSelector() as selector, open_log(self._log) as log:
            selector.register(pipe, selectors.EVENT_READ)
            while True:
                interrupts.check()
                step.tick()
                if not selector.select(_TICK_SECONDS):
                    if child.poll() is not None:
                        break
                    continue
                chunk = os.read(pipe.fileno(), 65536)  # empty: every writer has closed it
                log.write(chunk)
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines if chunk else [rest]:
                    self._take(line.decode(errors="replace"), step)
                if not chunk:
                    break
        while child.poll() is None:
            interrupts.pause(0.02)

    def _take(self, line: str, step: Step) -> None:
        line = line.rpartition("\r")[2].rstrip()
        if line:
            self.lines.append(line)
            self._is_failing = self._is_failing or line.startswith("Traceback ")
            if self._is_failing:
                return  # the end of it will be part of the error
            if shown := self._note(line):
                step.note(shown)
