"""The local directory: where everything of the embedded default is kept, its locks and runtime.json.

lock            held (flock) by the supervisor as long as it lives; contains its pid
runtime.json    who runs and where, while something runs; 0600, replaced atomically
secret_key      Django's SECRET_KEY, made once, 0600
ports.json      the ports chosen for web and Flower
postgresql/ redis/ logs/ ready/ test/
"""

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import time
from pathlib import Path
from typing import Any, BinaryIO

from deploy.local.errors import StartupError
from deploy.local.processes import Record

ROOT = Path(__file__).resolve().parents[2]
LOG_BYTES = 10_000_000


def local_directory() -> Path:
    """`.local` beside startup.py, or TALLY_LOCAL_DIR; made private to the user.

    For root it stays passable (0711), since PostgreSQL runs as another account and its data lies inside.
    Raises StartupError for a directory of another user: files of two owners would lock both out.
    """
    path = Path(os.environ.get("TALLY_LOCAL_DIR") or ROOT / ".local").expanduser().resolve()
    private_directory(path)
    if path.stat().st_uid != os.geteuid():
        raise StartupError(
            f"{path} belongs to another user.\n"
            "Start Tally as that user, or set TALLY_LOCAL_DIR to a directory of your own."
        )
    return path


def private_directory(path: Path) -> Path:
    """Make a directory that only the user can read; for root others may pass through it.

    One that exists keeps its mode: TALLY_LOCAL_DIR could name a directory that others use.
    """
    if not path.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o711 if os.geteuid() == 0 else 0o700)
    return path


def write_private(path: Path, text: str) -> None:
    """Replace a file atomically; only the user can read it, from its first byte on."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:  # noqa: PTH123
        file.write(text)
    temporary.replace(path)


def open_log(path: Path) -> BinaryIO:
    """A log to append to, readable for the user alone. One of more than LOG_BYTES is put aside first."""
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > LOG_BYTES:
            path.replace(path.with_name(f"{path.name}.1"))
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    return open(descriptor, "ab", buffering=0)  # noqa: PTH123


def shorten_log(path: Path) -> None:
    """Put what is in a log aside while its process goes on appending to it, once it has more than LOG_BYTES.

    A line that is written in the very moment between the copy and the emptying is lost, as with `copytruncate` of
    logrotate.
    """
    with contextlib.suppress(OSError):
        if path.stat().st_size > LOG_BYTES:
            shutil.copy2(path, path.with_name(f"{path.name}.1"))
            os.truncate(path, 0)


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object from a file; empty when the file is missing or is not one."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def secret_key(directory: Path) -> str:
    """The SECRET_KEY of this local directory, made on first use."""
    path = directory / "secret_key"
    if not path.exists():
        write_private(path, secrets.token_urlsafe(50))
    return path.read_text()


class Lock:
    """An flock on a file that contains the holder's pid. The kernel frees it when the holder dies."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self, *, patience_seconds: float = 0.5) -> bool:
        """Take the lock, or False when another process keeps it for that long."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        end = time.monotonic() + patience_seconds
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > end:
                    os.close(descriptor)
                    return False
                time.sleep(0.05)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor
        return True

    def descriptor(self) -> int:
        """The open file, to hand to a child that shall keep the lock if this process dies."""
        if self._descriptor is None:
            raise RuntimeError("the lock is not held")
        return self._descriptor

    def release(self) -> None:
        """Give the lock up; harmless when it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def holder(self) -> int | None:
        """The pid of the process that holds the lock; None when nobody does.

        Raises PermissionError where another user holds it and the file cannot be read.
        """
        try:
            descriptor = os.open(self.path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            for _attempt in range(20):  # the holder writes its pid a moment after it takes the lock
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except OSError:
                    with contextlib.suppress(ValueError):
                        return int(os.pread(descriptor, 20, 0))
                    time.sleep(0.05)
                else:
                    return None
            return None
        finally:
            os.close(descriptor)


class RuntimeFile:
    """runtime.json: the state of a running Tally, for `status`, `stop`, the tests and the next start."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "runtime.json"
        self._values: dict[str, Any] = {}

    def read(self) -> dict[str, Any]:
        """What is on disk now; empty when nothing runs."""
        return read_object(self.path)

    def records(self) -> list[Record]:
        """The processes on disk, without entries that cannot be read."""
        found = []
        for entry in self.read().get("processes", ()):
            with contextlib.suppress(KeyError, TypeError, ValueError):
                found.append(Record.read(entry))
        return found

    def update(self, **changes: Any) -> None:
        """Change some keys and replace the file. Keys are those of the package's users: see stack.py."""
        self._values.update(changes)
        write_private(self.path, json.dumps(self._values, indent=2) + "\n")

    def value(self, key: str) -> Any:
        """What was last set with `update`; None when it was not."""
        return self._values.get(key)

    def remove(self) -> None:
        """Nothing runs any more."""
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
