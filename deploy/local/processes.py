"""Checks whether a process is alive and is the one that we started, stops processes, and finds free ports.

A process is identified by its pid *and* by a mark, a text in its command line, because the kernel reuses pids. A zombie
(its parent has not read its exit status, or never will) counts as gone.
"""

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deploy.local import interrupts

POLL_SECONDS = 0.05
PORTS_TRIED = 50
_ANY_PORTS = range(20_000, 30_000)
_PROC = Path("/proc")
_HAS_PROC = (_PROC / "self" / "stat").exists()

# For each role, the signals that ask it to end, gentlest first, and the seconds to wait after each. Processes that are
# left after the last wait get SIGKILL. For PostgreSQL, SIGINT is the fast shutdown (SIGTERM waits until the clients
# leave), and SIGQUIT is the immediate shutdown.
_REQUESTS: dict[str, tuple[tuple[int, float], ...]] = {
    "database": ((signal.SIGINT, 20.0), (signal.SIGQUIT, 6.0)),
    "redis": ((signal.SIGTERM, 10.0),),
    "app": ((signal.SIGTERM, 10.0),),
    "step": ((signal.SIGINT, 5.0), (signal.SIGTERM, 3.0)),
    "test": ((signal.SIGINT, 20.0), (signal.SIGTERM, 5.0)),
}
_STOP_ORDER = (("step", "test", "app"), ("redis",), ("database",))  # a server stops after the processes that use it
_HURRIED_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Record:
    """A process in runtime.json. It leads a process group, whose id is therefore its pid."""

    name: str
    pid: int
    mark: str
    role: str = "app"

    @classmethod
    def read(cls, entry: dict[str, Any]) -> "Record":
        """Return the record of an entry made by `write`. Raises KeyError, TypeError or ValueError for another entry."""
        role = str(entry["role"])
        if role not in _REQUESTS:
            raise ValueError(role)
        return cls(name=str(entry["name"]), pid=int(entry["pid"]), mark=str(entry["mark"]), role=role)

    def write(self) -> dict[str, Any]:
        """A JSON object with name, pid, mark and role."""
        return asdict(self)

    def is_alive(self) -> bool:
        """Whether the process itself runs; its children do not count."""
        return matches(self.pid, self.mark)


def command_line(pid: int) -> str:
    """The arguments of a process joined by spaces; empty when there is no such process or it is a zombie."""
    if not _HAS_PROC:
        line = _ps("stat=,command=", "-p", str(pid)).strip()
        return "" if line.startswith("Z") else line.partition(" ")[2].strip()
    try:
        if (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] in "ZX":
            return ""
        return (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (OSError, IndexError):
        return ""


def matches(pid: int, mark: str) -> bool:
    """Whether a live process has this pid and this mark in its command line."""
    return bool(mark) and mark in command_line(pid)


def _ps(columns: str, *arguments: str) -> str:
    command = ["ps", "-ww", "-o", columns, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _groups() -> dict[int, list[int]]:
    """Every process group with its pids, zombies included."""
    groups: dict[int, list[int]] = {}
    if not _HAS_PROC:
        for row in (line.split() for line in _ps("pid=,pgid=", "-A").splitlines()):
            groups.setdefault(int(row[1]), []).append(int(row[0]))
        return groups
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                groups.setdefault(int(fields[2]), []).append(int(entry.name))
    return groups


def survivors(records: Iterable[Record]) -> list[int]:
    """Return the pids of these processes and of their groups that are alive and still have the record's mark."""
    groups = _groups()
    left: list[int] = []
    for record in records:
        pids = {record.pid, *groups.get(record.pid, ())}
        left.extend(pid for pid in sorted(pids) if matches(pid, record.mark))
    return left


def send(pid: int, number: int) -> None:
    """Send a signal; a process that is gone, or another user's, is no error here."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def kill_group(pid: int) -> None:
    """SIGKILL every process of the group that `pid` leads or led."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Poll until the condition holds, and return whether it did in time. A stop request does not end the wait."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(POLL_SECONDS)
    return True


def stop(records: Iterable[Record], reap: Callable[[], object] = lambda: None) -> list[int]:
    """Stop processes with their groups: apps, Redis, then PostgreSQL. Returns the pids that are still alive.

    `reap` is called while waiting, so that a parent can read the exit status of its own children. After a second stop
    request (Ctrl-C twice), each wait before SIGKILL is cut to a second, except for PostgreSQL.
    """
    stubborn: list[int] = []
    listed = list(records)
    for roles in _STOP_ORDER:
        stubborn += _stop_together([record for record in listed if record.role in roles], reap)
    return stubborn


def _stop_together(records: list[Record], reap: Callable[[], object]) -> list[int]:
    def gone() -> bool:
        reap()
        return not survivors(records)

    for index in range(max((len(_REQUESTS[record.role]) for record in records), default=0)):
        patience_seconds = 0.0
        for record in records:
            requests = _REQUESTS[record.role]
            number, seconds = requests[min(index, len(requests) - 1)]
            patience_seconds = max(patience_seconds, seconds)
            # Only PostgreSQL's main process gets the signal, because it alone can end its children properly. In other
            # groups every process gets it, as from a terminal.
            for pid in survivors([record]):
                if pid == record.pid or record.role != "database":
                    send(pid, number)
        if _wait_until_gone(gone, patience_seconds, hurry=records[0].role != "database"):
            return []
    for pid in survivors(records):
        send(pid, signal.SIGKILL)
    wait_until(gone, 5.0)
    return survivors(records)


def _wait_until_gone(gone: Callable[[], bool], patience_seconds: float, *, hurry: bool) -> bool:
    begun_at = time.monotonic()

    def enough() -> bool:
        asked_twice = hurry and interrupts.count() >= 2
        return gone() or (asked_twice and time.monotonic() - begun_at > _HURRIED_SECONDS)

    wait_until(enough, patience_seconds)
    return gone()


def port_is_free(port: int) -> bool:
    """Whether 127.0.0.1:port can be bound now and no server answers there."""
    with contextlib.suppress(OSError), socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", port))
        with socket.socket() as client:  # on BSD, bind succeeds even if a server listens there on all addresses
            client.settimeout(0.5)
            return client.connect_ex(("127.0.0.1", port)) != 0
    return False


def free_port(preferred: int) -> int:
    """Return a port that is free on 127.0.0.1. Raises OSError if none is found.

    It is the preferred port, else the next free one after it. If there is none, or `preferred` is 0, it is a random one
    of `_ANY_PORTS`, which are below the kernel's range for outgoing connections. Within that range, a
    client that retries while the server is down could be given the server's port, and the server could not start again.
    """
    wanted = list(range(preferred, min(preferred + PORTS_TRIED, 65536))) if preferred else []
    for port in wanted + random.sample(_ANY_PORTS, PORTS_TRIED):
        if port_is_free(port):
            return port
    raise OSError(f"no free port found on 127.0.0.1 near {preferred}")
