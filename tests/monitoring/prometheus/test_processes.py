"""Several web processes of a real gunicorn answer for each other, and forget none of what an ended one has counted."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from monitoring.prometheus import processes
from tests.monitoring.prometheus.reading import parse
from tests.support.nginx import free_port
from tests.support.stack import wait_until

ROOT = Path(__file__).resolve().parents[3]
PROCESSES = 3


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "metrics"


@pytest.fixture
def url(folder, db):
    """The web server as it is started everywhere, with three processes."""
    address = f"127.0.0.1:{free_port()}"
    program = f"import sys; from deploy import roles; print(*roles.web({address!r}, processes='{PROCESSES}'))"
    words = subprocess.check_output([sys.executable, "-c", program], cwd=ROOT, text=True).split()
    environment = os.environ | {processes.VARIABLE: str(folder), "DJANGO_SETTINGS_MODULE": "config.settings.test"}
    with subprocess.Popen([sys.executable, "-m", *words], cwd=ROOT, env=environment) as server:
        try:
            wait_until(lambda: len(own_files(folder)) == PROCESSES, 60, "the processes to begin")
            yield f"http://{address}"
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(30)


def own_files(folder):
    """The files of the processes that run, by their ids."""
    found = {file.stem.rpartition("_")[2]: file for file in folder.glob("histogram_*.db")}
    return {int(owner): file for owner, file in found.items() if owner.isdigit()}


def ask(url, path):
    """On a connection of its own, which any of the processes may take."""
    return httpx.get(url + path, timeout=20)


def counted(url, route="healthz"):
    series = parse(ask(url, "/metrics?part=machine").text)
    found = [
        value for (name, *labels), value in series.items() if name.endswith("_count") and ("route", route) in labels
    ]
    return sum(found)


def test_each_answers_for_all_and_a_killed_one_takes_nothing_along(url, folder):
    for _ in range(30):
        ask(url, "/healthz")
    assert {counted(url) for _ in range(20)} == {30}
    killed = next(iter(own_files(folder)))
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: killed not in own_files(folder) and len(own_files(folder)) == PROCESSES, 30, "another process")
    assert {counted(url) for _ in range(20)} == {30}
    assert not list(folder.glob(f"*_{killed}.db"))
    for _ in range(5):
        ask(url, "/healthz")
    assert {counted(url) for _ in range(20)} == {35}


def test_the_files_of_ended_processes_do_not_pile_up(url, folder):
    for number in range(1, 4):
        ask(url, "/healthz")
        killed = next(iter(own_files(folder)))
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda gone=killed: gone not in own_files(folder), 30, "its file to be merged")
        wait_until(lambda: len(own_files(folder)) == PROCESSES, 30, "another process")
        assert counted(url) == number
    assert len(list(folder.glob("*.db"))) == 2 * PROCESSES + 1


def test_a_start_begins_with_nothing(folder, monkeypatch):
    monkeypatch.setenv(processes.VARIABLE, str(folder))
    processes.begin_anew()
    processes.take_space()
    assert len(list(folder.glob("*.db"))) == 2
    processes.begin_anew()
    assert list(folder.glob("*.db")) == []


def test_while_a_scrape_reads_nothing_is_merged(folder, monkeypatch):
    """Else what is in both files would be counted twice, and fall again."""
    monkeypatch.setenv(processes.VARIABLE, str(folder))
    processes.begin_anew()
    ended = subprocess.Popen(["true"])
    ended.wait()
    (folder / f"histogram_{ended.pid}.db").write_bytes(bytes(1 << 16))
    with processes.unchanged(waits=True):
        processes.forget_ended()
        assert (folder / f"histogram_{ended.pid}.db").exists()
    processes.forget_ended()
    assert not (folder / f"histogram_{ended.pid}.db").exists()


def test_a_file_takes_its_space_at_once(folder, monkeypatch):
    """A process that writes where the disk has no space is killed."""
    monkeypatch.setenv(processes.VARIABLE, str(folder))
    processes.begin_anew()
    processes.take_space()
    for file in folder.glob("*.db"):
        os.sync()
        assert file.stat().st_blocks * 512 >= file.stat().st_size > 0
