"""The files in which web processes keep their own metrics, so that each of them can answer for all of this machine.

prometheus-client writes the metrics of each process into files of PROMETHEUS_MULTIPROC_DIR, and a scrape adds up all
files. This module imports neither Django nor metrics: gunicorn's main process uses it too.

The files are mapped into memory. If a disk is full, a write into a part of the file that the disk does not have yet
would kill the process (SIGBUS). So each process takes the whole space of its files before it begins.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import psutil
from prometheus_client.mmap_dict import MmapedDict

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
STREAMS_KIND, REQUESTS_KIND = "gauge_livesum", "histogram"  # as prometheus-client begins the names of the files
FILE_BYTES = {STREAMS_KIND: 1 << 16, REQUESTS_KIND: 1 << 20}  # more than the series of `requests` need
ENDED = "ended"  # in place of the process id: the requests of processes that have ended


def directory() -> Path | None:
    """Where the files are; None if this process keeps its metrics to itself."""
    name = os.environ.get(VARIABLE)
    return Path(name) if name else None


def begin_anew() -> None:
    """Remove the files of an earlier start. The main process of the web server calls this before any other runs."""
    folder = directory()
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("*.db"):
        file.unlink()


def take_space() -> None:
    """Take the space of this process's files. Raises OSError if there is none."""
    folder = directory()
    if folder is not None:
        for kind in FILE_BYTES:
            _make_file(folder, kind, str(os.getpid()))


@contextlib.contextmanager
def unchanged(*, waits: bool) -> Iterator[None]:
    """Nobody merges files meanwhile, which would count them twice. Raises BlockingIOError if it does not wait."""
    folder = directory()
    if folder is None:
        yield
        return
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if waits else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def forget_ended() -> None:
    """Add up the requests of ended processes in one file, and remove their own files.

    So the number of files does not grow with every process that ends. While a scrape reads them, nothing is done: the
    next process that ends will see to it. Raises OSError, for example if the disk is full.
    """
    folder = directory()
    if folder is None:
        return
    with contextlib.suppress(BlockingIOError), unchanged(waits=False):
        for file in folder.glob("*_*.db"):
            kind, _, owner = file.stem.rpartition("_")
            if not owner.isdigit() or psutil.pid_exists(int(owner)):
                continue
            if kind == REQUESTS_KIND:
                _add_to_ended(folder, file)
            file.unlink()


def _add_to_ended(folder: Path, file: Path) -> None:
    ended_file = folder / f"{REQUESTS_KIND}_{ENDED}.db"
    if not ended_file.exists():
        _make_file(folder, REQUESTS_KIND, ENDED)
    ended = MmapedDict(str(ended_file))  # type: ignore[no-untyped-call]
    try:
        for key, value, timestamp, _position in MmapedDict.read_all_values_from_file(str(file)):  # type: ignore[no-untyped-call]
            ended.write_value(key, ended.read_value(key)[0] + value, timestamp)  # type: ignore[no-untyped-call]
    finally:
        ended.close()  # type: ignore[no-untyped-call]


def _make_file(folder: Path, kind: str, owner: str) -> None:
    """Make a file of zeros, which prometheus-client takes for an empty one. Zeros take their space on the disk."""
    (folder / f"{kind}_{owner}.db").write_bytes(bytes(FILE_BYTES[kind]))
