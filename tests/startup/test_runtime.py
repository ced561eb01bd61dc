"""The local directory: its lock, runtime.json, and the startup.py commands that look at a run from elsewhere."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.local import processes, runtime
from deploy.local.errors import StartupError
from deploy.local.processes import Record
from deploy.local.runtime import ROOT, Lock, RuntimeFile
from tests.support.stack import wait_until

Startup = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def startup(tmp_path: Path) -> Startup:
    """Run startup.py from another directory, with tmp_path as the local directory."""

    def run(*arguments: str, before: str = "") -> "subprocess.CompletedProcess[str]":
        script = f"import runpy, sys; sys.argv = {['startup.py', *arguments]!r}; {before}\n"
        script += f"runpy.run_path({str(ROOT / 'startup.py')!r}, run_name='__main__')"
        return subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | {"TALLY_LOCAL_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            cwd="/",
            check=False,
            timeout=30,
        )

    return run


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-c", "import time; time.sleep(60)", "a-mark-of-its-own"]
    with subprocess.Popen(command, start_new_session=True) as child:
        yield child
        child.kill()


def test_second_holder_of_a_lock_is_refused(tmp_path: Path) -> None:
    first, second = Lock(tmp_path / "lock"), Lock(tmp_path / "lock")
    assert first.acquire()
    assert not second.acquire(patience_seconds=0)
    assert second.holder() == os.getpid()
    first.release()
    assert second.holder() is None
    assert second.acquire(patience_seconds=0)
    second.release()


def test_lock_of_a_killed_holder_is_free(tmp_path: Path) -> None:
    script = (
        "import pathlib, sys, time; from deploy.local.runtime import Lock; "
        "lock = Lock(pathlib.Path(sys.argv[1])); assert lock.acquire(); print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as holder:
        assert holder.stdout.readline() == b"held\n"
        lock = Lock(tmp_path / "lock")
        assert lock.holder() == holder.pid
        assert not lock.acquire(patience_seconds=0)
        holder.kill()
        holder.wait()
        assert lock.acquire()
        lock.release()


def test_runtime_file_is_private_and_whole(tmp_path: Path) -> None:
    file = RuntimeFile(tmp_path)
    record = Record(name="web", pid=1, mark="gunicorn", role="app")
    file.update(web_url="http://127.0.0.1:1", processes=[record.write(), {"name": "garbage"}])
    file.update(healthy=True)
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert file.read()["web_url"] == "http://127.0.0.1:1"
    assert file.records() == [record]
    assert [path.name for path in tmp_path.iterdir()] == ["runtime.json"]
    file.remove()
    file.remove()
    assert file.read() == {}


def test_secret_key_is_made_once_and_private(tmp_path: Path) -> None:
    key = runtime.secret_key(tmp_path)
    assert len(key) >= 50
    assert runtime.secret_key(tmp_path) == key
    assert (tmp_path / "secret_key").stat().st_mode & 0o777 == 0o600


def test_large_log_is_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "LOG_BYTES", 10)
    for _start in range(3):
        with runtime.open_log(tmp_path / "web.log") as log:
            log.write(b"eleven chars")
    assert (tmp_path / "web.log").read_bytes() == b"eleven chars"
    assert (tmp_path / "web.log.1").read_bytes() == b"eleven chars"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_local_directory_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.chown(tmp_path, 65534, 65534)
    monkeypatch.setenv("TALLY_LOCAL_DIR", str(tmp_path))
    with pytest.raises(StartupError, match="belongs to another user"):
        runtime.local_directory()


def test_process_is_known_by_pid_and_mark_and_not_as_a_zombie(sleeper: "subprocess.Popen[bytes]") -> None:
    # Popen returns when the new program is being loaded, a moment before its words can be read.
    wait_until(lambda: processes.matches(sleeper.pid, "a-mark-of-its-own"), 5, "the words of the process")
    assert not processes.matches(sleeper.pid, "of-another")
    assert not processes.matches(sleeper.pid, "")
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)  # dead, and not reaped
    assert not processes.matches(sleeper.pid, "a-mark-of-its-own")


def test_old_python_is_refused_in_words(startup: Startup) -> None:
    result = startup("status", before="sys.version_info = (3, 10, 12)")
    assert result.returncode == 1
    assert "needs Python 3.11, 3.12 or 3.13; this is Python 3.10" in result.stdout


def test_nothing_running_is_told_by_status_and_stop(startup: Startup) -> None:
    status, stop = startup("status"), startup("stop")
    assert (status.returncode, status.stdout) == (3, "Tally is not running\n")
    assert (stop.returncode, stop.stdout) == (0, "Tally is not running\n")


@pytest.mark.parametrize("detach", [[], ["--detach"]])
def test_second_start_names_the_first(startup: Startup, tmp_path: Path, detach: list[str]) -> None:
    lock = Lock(tmp_path / "lock")
    assert lock.acquire()
    starting = startup("run", *detach)
    assert (starting.returncode, starting.stdout) == (1, f"Tally is starting (pid {os.getpid()})\n")

    RuntimeFile(tmp_path).update(state="running", web_url="http://127.0.0.1:8000")
    running = startup("run", *detach)
    assert running.returncode == 0
    assert running.stdout == f"Tally is already running at http://127.0.0.1:8000 (pid {os.getpid()})\n"
    lock.release()


def test_stop_ends_what_a_killed_supervisor_left_and_nobody_else(
    startup: Startup, tmp_path: Path, sleeper: "subprocess.Popen[bytes]"
) -> None:
    ours = Record(name="web", pid=sleeper.pid, mark="a-mark-of-its-own")
    recycled = Record(name="beat", pid=os.getpid(), mark="celery beat --of-another-life")
    RuntimeFile(tmp_path).update(state="running", processes=[ours.write(), recycled.write()])
    assert startup("status").returncode == 1

    result = startup("stop")

    assert result.returncode == 0, result.stdout
    assert sleeper.wait(timeout=5) == -signal.SIGTERM
    assert not (tmp_path / "runtime.json").exists()
    assert startup("status").returncode == 3


def test_status_lists_processes_and_addresses(
    startup: Startup, tmp_path: Path, sleeper: "subprocess.Popen[bytes]"
) -> None:
    lock = Lock(tmp_path / "lock")
    assert lock.acquire()
    web = Record(name="web", pid=sleeper.pid, mark="a-mark-of-its-own").write()
    values = {"state": "running", "supervisor_pid": os.getpid(), "healthy": True, "processes": [web]}
    (tmp_path / "runtime.json").write_text(json.dumps(values | {"web_url": "http://127.0.0.1:8000"}))
    healthy = startup("status")
    assert healthy.returncode == 0
    assert f"{sleeper.pid}  yes" in healthy.stdout
    assert "http://127.0.0.1:8000" in healthy.stdout

    sleeper.kill()
    sleeper.wait()
    ill = startup("status")
    assert ill.returncode == 1
    assert f"{sleeper.pid}  NO" in ill.stdout
    lock.release()
