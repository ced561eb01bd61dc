"""A small supervisor: starts services, waits until all are ready, restarts what dies, stops everything."""

import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from deploy.local import interrupts, processes
from deploy.local.console import Step, say, tail
from deploy.local.errors import StartupError
from deploy.local.processes import Record
from deploy.local.runtime import open_log, shorten_log

FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 10.0
QUIET_SECONDS = 30.0  # who lived this long starts again at once and with a clean record
DEATHS_BEFORE_GIVING_UP = 2  # while Tally starts; later nothing is given up
TICK_SECONDS = 0.1
STARTING_SECONDS = 180.0  # a restart that takes longer, of a process that is not well, hangs
LOGS_SECONDS = 60.0  # between two looks whether a log has grown too long
ASK_SECONDS = 2.0  # between two questions whether an app is well
BAD_ANSWERS = 4  # in a row: it hangs


class Service(Protocol):
    """What the supervisor looks after: an App, or a server of servers.py."""

    name: str

    @property
    def log(self) -> Path:
        """Where its output goes."""

    def start(self) -> None:
        """Start it; raises StartupError or OSError."""

    def is_alive(self) -> bool:
        """Whether its process runs."""

    def is_ready(self) -> bool:
        """Whether it does its work; asked only while it is alive, until it says yes."""

    def is_hung(self) -> bool:
        """Whether it is alive and does nothing any more, so that only killing it helps."""

    def kill(self) -> None:
        """End it at once, with its children."""

    def clean_up(self) -> None:
        """After a death: end what is left of its process group."""

    def reap(self) -> None:
        """Read the exit status if there is one."""

    def exit_status(self) -> int | None:
        """As subprocess has it: negative for a signal; None while it runs."""

    def record(self) -> Record | None:
        """Its process; None when it does not run."""


class App:
    """One process of Tally in a session of its own, with its output in a log."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        directory: Path,
        log: Path,
        is_ready: Callable[["App"], bool],
        before_start: Callable[[], object] = lambda: None,
        is_well: Callable[[], bool] | None = None,
    ) -> None:
        """`before_start` removes the signs of readiness that an earlier life may have left.

        `is_well` is asked again and again while the process lives, in a thread, since a process that hangs lets wait.
        """
        self.name = name
        self.log = log
        self._command = list(command)
        self._environment = dict(environment)
        self._directory = directory
        self._is_ready = is_ready
        self._before_start = before_start
        self._is_well = is_well
        self._bad_answers = 0  # in a row, since it was well
        self._child: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0

    @property
    def age_seconds(self) -> float:
        """Time since the last start."""
        return time.monotonic() - self._started_at

    def start(self) -> None:
        """Start the process; it is not ready yet."""
        self._before_start()
        self._started_at = time.monotonic()
        with open_log(self.log) as log:
            self._child = subprocess.Popen(
                self._command,
                cwd=self._directory,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if self._is_well is not None:
            threading.Thread(target=self._ask_how_it_is, args=(self._child, self._is_well), daemon=True).start()

    def _ask_how_it_is(self, child: "subprocess.Popen[bytes]", is_well: Callable[[], bool]) -> None:
        self._bad_answers = 0
        while self._child is child and child.returncode is None:
            time.sleep(ASK_SECONDS)
            try:
                answer = is_well()
            except Exception:  # noqa: BLE001  what cannot be asked is not well
                answer = False
            if self._child is child:
                self._bad_answers = 0 if answer else self._bad_answers + 1

    def is_alive(self) -> bool:
        """Whether the process runs; a zombie is read and counts as dead."""
        return self._child is not None and self._child.poll() is None

    def is_ready(self) -> bool:
        """Ask the check this app came with. How it was while it started does not count."""
        if not self._is_ready(self):
            return False
        self._bad_answers = 0
        return True

    def is_hung(self) -> bool:
        """Whether it was not well so often that it will not be again."""
        return self._bad_answers >= BAD_ANSWERS

    def kill(self) -> None:
        """SIGKILL, to its whole group."""
        if self._child is not None:
            processes.kill_group(self._child.pid)
            self._child.wait()

    def clean_up(self) -> None:
        """End the children of a dead process: an orphaned web worker would keep the port."""
        if self._child is not None and not self.is_alive():
            processes.kill_group(self._child.pid)
            self._child = None

    def reap(self) -> None:
        """Read the exit status if there is one."""
        self.is_alive()

    def exit_status(self) -> int | None:
        """As subprocess has it: negative for a signal; None while it runs."""
        return self._child.poll() if self._child is not None else None

    def record(self) -> Record | None:
        """The process, dead or alive, until `clean_up`: its children may have outlived it."""
        if self._child is None:
            return None
        return Record(name=self.name, pid=self._child.pid, mark=" ".join(self._command[1:]))


@dataclass(kw_only=True)
class _Watched:
    service: Service
    is_ready: bool = False
    is_down: bool = True
    deaths: int = 0
    started_at: float = 0.0
    next_start_at: float = 0.0


class Supervisor:
    """Looks after services in the order given. Single-threaded: everything happens in `tick`."""

    def __init__(self, services: Sequence[Service], *, on_change: Callable[[], object] = lambda: None) -> None:
        """`on_change` is called after every start, death and readiness."""
        self._watched = [_Watched(service=service) for service in services]
        self._on_change = on_change
        self._next_look_at_logs = 0.0

    @property
    def healthy(self) -> bool:
        """Whether every service is alive and has said that it is ready."""
        return all(watched.is_ready for watched in self._watched)

    def records(self) -> list[Record]:
        """The processes that run now."""
        found = [watched.service.record() for watched in self._watched if not watched.is_down]
        return [record for record in found if record is not None]

    def adopt(self, service: Service) -> None:
        """Look after a service that has been started and is ready."""
        self._watched.append(_Watched(service=service, is_ready=True, is_down=False, started_at=time.monotonic()))
        self._on_change()

    def add(self, service: Service) -> None:
        """Look after a service; the next tick starts it."""
        self._watched.append(_Watched(service=service))

    def wait_until_healthy(self, seconds: float) -> None:
        """Start everything. Raises StartupError with the log of who dies twice or takes too long."""
        with Step("Starting the processes") as step:
            end = time.monotonic() + seconds
            noted = {watched.service.name for watched in self._watched if watched.is_ready}
            while not self.healthy:
                self.tick()
                for watched in self._watched:
                    if watched.is_ready and watched.service.name not in noted:
                        noted.add(watched.service.name)
                        step.note(f"{watched.service.name} is ready")
                    if watched.deaths >= DEATHS_BEFORE_GIVING_UP:
                        raise StartupError(_obituary(watched.service, "does not stay alive"))
                    if time.monotonic() > end and not watched.is_ready:
                        raise StartupError(_obituary(watched.service, f"is not ready after {seconds:.0f} s"))
                step.tick()
                interrupts.pause(TICK_SECONDS)

    def watch(self) -> None:
        """Run until a stop is asked for; leaves by StopRequestedError."""
        while True:
            self.tick()
            interrupts.pause(TICK_SECONDS)

    def tick(self) -> None:
        """Look at each service once: note deaths, restart what is due, ask the rest if they are ready."""
        self._look_at_logs()
        for watched in self._watched:
            if watched.is_down:
                if time.monotonic() >= watched.next_start_at:
                    self._start(watched)
            elif not watched.service.is_alive():
                self._note_death(watched, f"ended with status {watched.service.exit_status()}")
            elif watched.service.is_hung() and (watched.is_ready or _age(watched) > STARTING_SECONDS):
                watched.service.kill()
                self._note_death(watched, "did nothing any more and was killed")
            elif not watched.is_ready and watched.service.is_ready():
                watched.is_ready = True
                self._on_change()

    def _look_at_logs(self) -> None:
        if time.monotonic() < self._next_look_at_logs:
            return
        self._next_look_at_logs = time.monotonic() + LOGS_SECONDS
        for watched in self._watched:
            shorten_log(watched.service.log)

    def stop(self) -> list[int]:
        """Stop everything, users of a server before it. Returns the pids that would not go: normally none."""

        def reap() -> None:
            for watched in self._watched:
                watched.service.reap()

        stubborn = processes.stop([r for w in self._watched if (r := w.service.record())], reap)
        for watched in self._watched:
            watched.service.clean_up()
            watched.is_ready, watched.is_down = False, True
        return stubborn

    def _start(self, watched: _Watched) -> None:
        watched.started_at = time.monotonic()
        try:
            watched.service.start()
        except (StartupError, OSError) as error:
            self._note_death(watched, f"could not be started: {error}")
            return
        watched.is_down = False
        self._on_change()

    def _note_death(self, watched: _Watched, what: str) -> None:
        watched.service.clean_up()
        now = time.monotonic()
        if now - watched.started_at > QUIET_SECONDS:
            watched.deaths = 0
        delay = min(FIRST_DELAY_SECONDS * 2 ** (watched.deaths - 1), LONGEST_DELAY_SECONDS) if watched.deaths else 0.0
        watched.deaths += 1
        watched.next_start_at = now + delay
        watched.is_ready, watched.is_down = False, True
        stamp = time.strftime("%H:%M:%S")
        say(f"{stamp} {watched.service.name} {what}; starting it again" + (f" in {delay:.1f} s" if delay else ""))
        self._on_change()


def _age(watched: _Watched) -> float:
    return time.monotonic() - watched.started_at


def _obituary(service: Service, what: str) -> str:
    return f"{service.name} {what}. The end of {service.log}:\n{tail(service.log)}"
