"""A run of Tally seen from elsewhere: who runs, status, stop, and starting one in the background."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from deploy.local import interrupts, processes, runtime
from deploy.local.console import Step, say
from deploy.local.runtime import ROOT, Lock, RuntimeFile, open_log

STOP_SECONDS = 75.0  # more than every patience of a shutdown together
EXIT_INTERRUPTED = 130
EXIT_NOT_RUNNING = 3


def lock_of(directory: Path) -> Lock:
    """The lock that a supervisor of this local directory holds as long as it lives."""
    return Lock(directory / "lock")


def tell_who_runs(directory: Path) -> int:
    """What a second start says, and its exit status: 0 when Tally is up."""
    values = RuntimeFile(directory).read()
    who = f"(pid {lock_of(directory).holder()})"
    if values.get("state") == "running":
        say(f"Tally is already running at {values.get('web_url')} {who}")
        return 0
    say(f"Tally is {values.get('state', 'starting')} {who}")
    return 1


def summary(values: dict[str, Any], directory: Path, *, detached: bool) -> str:
    """Addresses and demo log-ins, for the terminal. `values` is what runtime.json holds."""
    rows = [
        ("Chat", values["web_url"]),
        ("Admin", f"{values['web_url']}/admin/"),
        ("Flower", values["flower_url"]),
        *((role.capitalize(), _log_in(values[role])) for role in ("customer", "staff", "operator")),
        ("Logs", str(directory / "logs")),
        ("Stop", "python3 startup.py stop" if detached else "Ctrl-C here, or from anywhere: startup.py stop"),
    ]
    return "\n".join(["", "Tally is running", *(f"  {name:10}{text}" for name, text in rows), ""])


def _log_in(person: dict[str, str]) -> str:
    return f"{person['email']}  {person['password']}"


def status() -> int:
    """Print what runs. 0: all healthy; 1: something is not; 3: Tally does not run."""
    directory = runtime.local_directory()
    supervisor = lock_of(directory).holder()
    file = RuntimeFile(directory)
    values, records = file.read(), file.records()
    if supervisor is None and not processes.survivors(records):
        say("Tally is not running")
        return EXIT_NOT_RUNNING
    say(f"{'process':16}{'pid':>8}  alive")
    rows = [("supervisor", values.get("supervisor_pid") or supervisor, supervisor is not None)]
    rows += [(record.name, record.pid, record.is_alive()) for record in records]
    for name, pid, alive in rows:
        say(f"{name:16}{pid:>8}  {'yes' if alive else 'NO'}")
    for key in ("web_url", "flower_url"):
        if values.get(key):
            say(f"{key.removesuffix('_url').capitalize():16}{values[key]}")
    if supervisor is None:
        say("The supervisor was killed; `startup.py stop` ends the rest, `startup.py run` starts anew")
    healthy = bool(values.get("healthy")) and all(alive for _name, _pid, alive in rows)
    say(f"{'State':16}{values.get('state', 'starting')}, {'healthy' if healthy else 'not healthy'}")
    return 0 if healthy else 1


def stop() -> int:
    """Stop a run wherever it was started, and what a killed one left behind. 0 also when nothing runs."""
    directory = runtime.local_directory()
    file = RuntimeFile(directory)
    lock = lock_of(directory)
    supervisor = lock.holder()
    records = file.records()
    if supervisor is None and not processes.survivors(records):
        file.remove()
        say("Tally is not running")
        return 0
    with Step("Stopping Tally") as step:
        if supervisor is not None:
            os.kill(supervisor, signal.SIGTERM)
            end = time.monotonic() + STOP_SECONDS
            while lock.holder() == supervisor:
                if time.monotonic() > end:
                    os.kill(supervisor, signal.SIGKILL)
                interrupts.pause(0.1)
                step.tick()
        left = processes.stop(_unique([*records, *file.records()]))
    if left:
        say(f"These processes could not be stopped: {left}")
        return 1
    if lock.holder() is None:
        file.remove()
    return 0


def _unique(records: Iterable[processes.Record]) -> list[processes.Record]:
    return list(dict.fromkeys(records))


class Background:
    """`run --detach`: a supervisor in a session of its own, watched until Tally is healthy."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file = RuntimeFile(directory)
        self._log = runtime.private_directory(directory / "logs") / "supervisor.log"
        self._shown_bytes = 0

    def run(self) -> int:
        """0 once Tally is healthy; else the supervisor's status, with nothing left running."""
        if lock_of(self._directory).holder() is not None:
            return tell_who_runs(self._directory)
        child = self._spawn()
        try:
            while child.poll() is None and not self._is_up(child.pid):
                self._show_progress()
                interrupts.pause(0.1)
        except interrupts.StopRequestedError:
            processes.send(child.pid, signal.SIGTERM)
            processes.wait_until(lambda: child.poll() is not None, STOP_SECONDS)
            self._show_progress()
            return EXIT_INTERRUPTED
        self._show_progress()
        if child.poll() is not None:
            return child.returncode
        say(summary(self._file.read(), self._directory, detached=True))
        return 0

    def _spawn(self) -> "subprocess.Popen[bytes]":
        with open_log(self._log) as log:
            self._shown_bytes = os.fstat(log.fileno()).st_size
            return subprocess.Popen(
                [sys.executable, str(ROOT / "startup.py"), "run", "--in-background"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | {"TALLY_LOCAL_DIR": str(self._directory)},
                start_new_session=True,
            )

    def _is_up(self, pid: int) -> bool:
        values = self._file.read()
        return values.get("supervisor_pid") == pid and values.get("state") == "running"

    def _show_progress(self) -> None:
        """Relay the whole lines that are new in the supervisor's log."""
        with self._log.open("rb") as log:
            log.seek(self._shown_bytes)
            whole, newline, _rest = log.read().rpartition(b"\n")
        self._shown_bytes += len(whole) + len(newline)
        for line in whole.decode(errors="replace").splitlines():
            say(line)
