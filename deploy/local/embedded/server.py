"""A private server on loopback that keeps its data: what PostgreSQL and Redis have in common.

The directory holds `server.json` (password, port, pid; 0600), `server.log` and the data, in one directory for
each server and major version. Where root's directory is closed to the account that the server runs as, the
data lies under /var/lib/tally-embedded instead and server.json says where.
"""

import json
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from deploy.local import console, interrupts, processes
from deploy.local.embedded import binaries, redis_users
from deploy.local.embedded.binaries import Binary
from deploy.local.errors import ServerError
from deploy.local.processes import Record
from deploy.local.runtime import open_log, private_directory, read_object, write_private

READY_SECONDS = 60.0  # crash recovery can take a while
START_ATTEMPTS = 20
ATTEMPT_PAUSE_SECONDS = 0.3
EXIT_SECONDS = 5.0

# What a server says when something of its killed predecessor, or a stranger's socket, is still there.
_PASSING = ("still in use", "ddress already in use", "could not create any TCP/IP sockets")


class GivenServer:
    """A server that somebody else runs, known by its URL. It is never started or stopped."""

    pid = None
    log = Path(os.devnull)

    def __init__(self, name: str, url: str, owner_url: str = "", users: Sequence[str] = ()) -> None:
        """`owner_url` is the log-in of who owns the tables of a database; empty where `url` is that, too.

        `users` are the URLs of Redis' users, in the order of redis_users.USERS.
        """
        self.name = name
        self.url = url
        self.owner_url = owner_url
        self._users = users

    def user_urls(self) -> dict[str, str]:
        """The URLs that Tally logs in to Redis with, by the settings that name them."""
        return dict(zip(redis_users.SETTINGS.values(), self._users, strict=True))

    def start(self) -> None:
        """Nothing to do."""

    def stop(self) -> None:
        """Nothing to do."""

    def is_alive(self) -> bool:
        """Assumed; /readyz tells."""
        return True

    def record(self) -> Record | None:
        """No process of ours."""
        return None

    def is_ready(self) -> bool:
        """Assumed, as is_alive."""
        return True

    def is_hung(self) -> bool:
        """Not ours to know."""
        return False

    def kill(self) -> None:
        """Never: it is not ours."""

    def clean_up(self) -> None:
        """Nothing to do."""

    def reap(self) -> None:
        """Nothing to do."""

    def exit_status(self) -> int | None:
        """Not ours to know."""
        return None


class EmbeddedServer(ABC):
    """What PostgreSQL and Redis have in common; see the module's docstring for its use."""

    name: str
    role: str
    default_port: int
    url_setting: str
    wheel: str

    def __init__(self, directory: Path, *, preferred_port: int | None = None) -> None:
        """`preferred_port` 0 takes any free port; None takes the port of last time or the default."""
        self.directory = directory
        self.moved_from_port: int | None = None  # the busy port that the last start had to avoid
        self._preferred_port = preferred_port
        self._state: dict[str, Any] = {}
        self._child: subprocess.Popen[bytes] | None = None
        self._port_is_fixed = False
        self._account = binaries.server_account()
        self._known_home: Path | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """Address with user and password, valid after the first start."""

    @property
    @abstractmethod
    def owner_url(self) -> str:
        """The address for who owns the tables of a database; empty where there are none."""

    @property
    def pid(self) -> int | None:
        """The server's process; None when it does not run."""
        return self._child.pid if self._child is not None and self.is_alive() else None

    @property
    def port(self) -> int:
        """The port on 127.0.0.1; it stays the same as long as this object lives."""
        return int(self._state["port"])

    @property
    def log(self) -> Path:
        """The server's own log."""
        return self.directory / "server.log"

    def is_alive(self) -> bool:
        """Whether the process that this object started still runs."""
        return self._child is not None and self._child.poll() is None

    def record(self) -> Record | None:
        """How to find the process from outside; None when it does not run."""
        if not self.is_alive() or self._child is None:
            return None
        return Record(name=self.name, pid=self._child.pid, mark=self._mark(), role=self.role)

    def start(self) -> None:
        """Start and wait until it answers. Raises ServerError with the reason and the end of the log.

        A process that an earlier, killed owner left on the same data is stopped first.
        """
        if self.is_alive():
            return
        private_directory(self.directory)
        self._load_state()
        self._stop_leftover()
        binary = self._choose_binary()
        program = binaries.make_reachable(binary, self._account)
        self._make_data(binary, program)
        self._save_state(data=self._data_name(binary))
        self._choose_port()
        try:
            self._launch(program)
            self._finish(program)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop it the gentle way, then the hard way; returns when it is gone."""
        if (record := self.record()) is not None:
            processes.stop([record], self.reap)
        # It gives its name up a moment before it can be reaped.
        processes.wait_until(lambda: not self.is_alive(), EXIT_SECONDS)

    def kill(self) -> None:
        """SIGKILL, as a crash would; returns when it is dead. `start` then brings it back as it was."""
        if self._child is not None:
            processes.kill_group(self._child.pid)
            self._child.wait()

    def is_ready(self) -> bool:
        """`start` returns when it answers, so alive is ready."""
        return self.is_alive()

    def is_hung(self) -> bool:
        """Never said of a server of data: one that pauses is waited for, and killing it would help nobody."""
        return False

    def clean_up(self) -> None:
        """Read the exit status of a dead server and end what is left of its group."""
        if self._child is not None and not self.is_alive():
            processes.kill_group(self._child.pid)

    def reap(self) -> None:
        """Read the exit status of a server that died, so that it does not stay as a zombie."""
        if self._child is not None:
            self._child.poll()

    def exit_status(self) -> int | None:
        """As subprocess has it: negative for a signal; None while it runs."""
        return self._child.poll() if self._child is not None else None

    def delete(self) -> None:
        """Stop it, also what an earlier owner left running, and remove all of its data."""
        self.stop()
        self._state = self._state or read_object(self.directory / "server.json")
        self._stop_leftover()
        if home := self._state.get("home"):
            shutil.rmtree(home, ignore_errors=True)
        shutil.rmtree(self.directory, ignore_errors=True)
        self._state, self._known_home, self._port_is_fixed = {}, None, False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # What the two differ in

    @abstractmethod
    def _binaries(self) -> list[Binary]: ...

    @abstractmethod
    def _data_name(self, binary: Binary) -> str: ...

    @abstractmethod
    def _has_data(self, path: Path) -> bool: ...

    @abstractmethod
    def _make_data(self, binary: Binary, program: Path) -> None: ...

    @abstractmethod
    def _command(self, program: Path) -> list[str]: ...

    @abstractmethod
    def _mark(self) -> str: ...

    @abstractmethod
    def _answers(self) -> bool: ...

    @abstractmethod
    def _before_launch(self) -> None:
        """Put right what would keep the server from starting."""

    @abstractmethod
    def _finish(self, program: Path) -> None:
        """What is left to do once the server answers."""

    # State and places

    def _load_state(self) -> None:
        if not self._state:
            self._state = read_object(self.directory / "server.json")
        if not self._state.get("password"):
            self._save_state(password=secrets.token_hex(16))

    def _save_state(self, **changes: Any) -> None:
        if any(self._state.get(key) != value for key, value in changes.items()):
            self._state.update(changes)
            write_private(self.directory / "server.json", json.dumps(self._state) + "\n")

    def _home(self) -> Path:
        """Where the data directories lie: here, unless the server's account cannot come here."""
        if self._known_home is None:
            self._known_home = self._find_home()
        return self._known_home

    def _find_home(self) -> Path:
        if home := self._state.get("home"):
            self._claim(Path(home))
            return Path(home)
        path = self.directory.resolve()
        if binaries.is_reachable(path, self._account, "x") or any(map(self._has_data, path.iterdir())):
            return path
        away = Path(tempfile.mkdtemp(prefix=f"{self.name}-", dir=binaries.shared_home()))
        away.chmod(0o711)
        (away / "belongs-to").write_text(str(self.directory))
        self._save_state(home=str(away))
        return away

    def _claim(self, home: Path) -> None:
        """Two copies of a directory must not share one home: only the one it was made for may use it."""
        note = home / "belongs-to"
        owner = note.read_text() if note.exists() else str(self.directory)
        if owner == str(self.directory):
            return
        if Path(owner).exists():
            raise ServerError(
                f"The data in {home} belongs to {owner}; {self.directory} looks like a copy of it.\n"
                f"Remove {self.directory} to begin with an empty {self.name}."
            )
        note.write_text(str(self.directory))  # the directory was moved

    def _data(self) -> Path:
        return self._home() / str(self._state["data"])

    def _give(self, path: Path) -> None:
        """Hand a file or directory to the server's account."""
        if self._account is not None:
            os.chown(path, self._account.uid, self._account.gid)

    def _choose_binary(self) -> Binary:
        """The first binary that fits the data there is; any binary when there is none yet.

        Data of another version is never passed over in silence: an empty database would look like a loss.
        """
        found = self._binaries()
        home = self._home()
        existing = [path.name for path in home.iterdir() if self._has_data(path)] if home.is_dir() else []
        last = self._state.get("data")
        if last and last not in existing and self._state.get("home"):
            raise ServerError(
                f"The data of {self.name} should be in {home / last}, but it is gone.\n"
                f"Put it back, or remove {self.directory} to begin with an empty {self.name}."
            )
        existing.sort(key=lambda name: (name == last, name), reverse=True)
        fitting = [binary for name in existing for binary in found if self._data_name(binary) == name]
        if fitting or (found and not existing):
            return (fitting or found)[0]
        listed = "; ".join(map(str, found)) or "nothing"
        if existing:
            raise ServerError(
                f"The data in {home / existing[0]} needs the version in its name, but found: {listed}.\n"
                f"Install it, or set {self.url_setting}, or move that directory away to begin empty."
            )
        raise ServerError(
            f"No usable {self.name} was found. Install one, or the wheel {self.wheel} "
            f"(`pip install {self.wheel}`), or set {self.url_setting} to a server of your own."
        )

    def _choose_port(self) -> None:
        wanted = self._state.get("port")
        if self._port_is_fixed and wanted:
            return  # those who use the server know this address
        if not wanted:
            wanted = self.default_port if self._preferred_port is None else self._preferred_port
        port = processes.free_port(int(wanted))
        self.moved_from_port = int(wanted) if wanted and port != wanted else None
        self._save_state(port=port)

    # Start and stop

    def _stop_leftover(self) -> None:
        """Stop what a killed owner left running on this data."""
        pid = self._state.get("pid")
        if pid and self._state.get("data"):
            left = Record(name=self.name, pid=int(pid), mark=self._mark(), role=self.role)
            if left.is_alive() and processes.stop([left]):
                raise ServerError(f"An old {self.name} (pid {pid}) still uses this data and cannot be stopped.")

    def _launch(self, program: Path) -> None:
        for _attempt in range(START_ATTEMPTS):
            interrupts.check()
            self._before_launch()
            said_from = self._spawn(program)
            if self._wait_until_ready():
                self._port_is_fixed = True
                return
            said = self.log.read_bytes()[said_from:].decode(errors="replace")
            if self.is_alive() or not any(text in said for text in _PASSING):
                break
            interrupts.pause(ATTEMPT_PAUSE_SECONDS)
            self._choose_port()
        self.stop()
        raise ServerError(f"{self.name} did not start. The end of {self.log}:\n{console.tail(self.log)}")

    def _spawn(self, program: Path) -> int:
        """Returns where in the log its words begin."""
        account = self._account.popen_options() if self._account is not None else {}
        with open_log(self.log) as log:
            begin = os.fstat(log.fileno()).st_size
            self._child = subprocess.Popen(
                self._command(program),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=binaries.clean_environment(),
                start_new_session=True,
                **account,
            )
        self._save_state(pid=self._child.pid)
        return begin

    def _wait_until_ready(self) -> bool:
        end = time.monotonic() + READY_SECONDS
        while self.is_alive() and time.monotonic() < end:
            if self._answers():
                return True
            interrupts.pause(0.02)
        return False
