"""The supervisor, with tiny Python children: what dies comes back, and a stop leaves nothing."""

import itertools
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.local import interrupts, processes, readiness, runtime
from deploy.local import supervisor as supervisor_module
from deploy.local.errors import StartupError
from deploy.local.supervisor import App, Supervisor

IGNORE_SIGTERM = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
SLEEP = "import time; time.sleep(60)"
ALIVE = readiness.alive_for(0)
MakeApp = Callable[..., App]


@pytest.fixture
def make_app(tmp_path: Path) -> Iterator[MakeApp]:
    made: list[App] = []

    def make(
        name: str,
        script: str,
        *,
        is_ready: Callable[[App], bool] = ALIVE,
        is_well: Callable[[], bool] | None = None,
    ) -> App:
        app = App(
            name,
            [sys.executable, "-c", script, str(tmp_path)],
            environment=os.environ,
            directory=tmp_path,
            log=tmp_path / f"{name}.log",
            is_ready=is_ready,
            is_well=is_well,
        )
        made.append(app)
        return app

    yield make
    for app in made:
        if (record := app.record()) is not None:
            processes.kill_group(record.pid)
            app.clean_up()


def tick_until(supervisor: Supervisor, condition: Callable[[], bool], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "took too long"
        supervisor.tick()
        time.sleep(0.02)


def test_killed_child_is_started_again(make_app: MakeApp) -> None:
    app, changes = make_app("app", SLEEP), []
    supervisor = Supervisor([app], on_change=lambda: changes.append(supervisor.healthy))
    supervisor.wait_until_healthy(5)
    first = app.record()

    os.kill(first.pid, signal.SIGKILL)
    tick_until(supervisor, lambda: not supervisor.healthy)
    tick_until(supervisor, lambda: supervisor.healthy)

    assert app.record().pid != first.pid
    assert processes.survivors([first]) == []
    assert changes == [False, True, False, False, True]  # start, ready, death, start, ready
    supervisor.stop()


def test_a_child_that_hangs_is_killed_and_started_again(
    make_app: MakeApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "_SILENT_SECONDS", 0.5)
    monkeypatch.setattr(supervisor_module, "ASK_SECONDS", 0.1)
    beating = "import pathlib, sys, time\nwhile True: pathlib.Path(sys.argv[1], 'alive').touch(); time.sleep(0.1)"
    sign = tmp_path / "alive"
    app = make_app("hangs", beating, is_ready=lambda _app: sign.exists(), is_well=readiness.beats(sign))
    supervisor = Supervisor([app])
    supervisor.wait_until_healthy(5)
    first = app.record().pid
    tick_until(supervisor, lambda: app.age_seconds > 1.5)
    assert app.record().pid == first  # who is well is left alone

    os.kill(first, signal.SIGSTOP)
    tick_until(supervisor, lambda: app.record() is not None and app.record().pid != first)
    tick_until(supervisor, lambda: supervisor.healthy)
    supervisor.stop()


def test_a_child_that_takes_long_to_start_does_not_count_as_hung(
    make_app: MakeApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "ASK_SECONDS", 0.02)
    app: App = make_app(
        "slow", SLEEP, is_ready=lambda one: one.age_seconds > 0.5, is_well=lambda: app.age_seconds > 0.5
    )
    supervisor = Supervisor([app])
    supervisor.wait_until_healthy(5)
    first = app.record().pid
    tick_until(supervisor, lambda: app.age_seconds > 1)
    assert app.record().pid == first
    supervisor.stop()


def test_a_log_that_grows_long_is_put_aside_while_its_process_goes_on(
    make_app: MakeApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "LOG_BYTES", 1000)
    monkeypatch.setattr(supervisor_module, "LOGS_SECONDS", 0.1)
    app = make_app("talks", "import time\nfor n in range(100000): print(n, 'words', flush=True); time.sleep(0.001)")
    supervisor = Supervisor([app])
    supervisor.wait_until_healthy(5)
    aside = tmp_path / "talks.log.1"
    tick_until(supervisor, aside.exists)
    first = aside.read_text()
    tick_until(supervisor, lambda: aside.read_text() != first)
    assert app.log.stat().st_size < 10_000
    assert app.log.read_text().splitlines()[-1].endswith("words")
    supervisor.stop()


def test_orphans_of_a_killed_child_are_ended_before_it_comes_back(make_app: MakeApp, tmp_path: Path) -> None:
    app = make_app("parent", f"import os; os.fork(); open('pids', 'a').write(f'{{os.getpid()}} '); {SLEEP}")
    supervisor = Supervisor([app])
    supervisor.wait_until_healthy(5)
    pids = tmp_path / "pids"
    tick_until(supervisor, lambda: pids.exists() and len(pids.read_text().split()) == 2)
    leader = app.record()
    assert len(processes.survivors([leader])) == 2

    os.kill(leader.pid, signal.SIGKILL)
    tick_until(supervisor, lambda: app.record() is not None and app.record().pid != leader.pid)

    processes.wait_until(lambda: processes.survivors([leader]) == [], 2)
    assert processes.survivors([leader]) == []
    supervisor.stop()


def test_child_that_dies_again_and_again_is_started_less_and_less_often(make_app: MakeApp) -> None:
    app, starts = make_app("brittle", "raise SystemExit(3)"), []
    app._before_start = lambda: starts.append(time.monotonic())
    supervisor = Supervisor([app])
    end = time.monotonic() + 2.6
    while time.monotonic() < end:
        supervisor.tick()
        time.sleep(0.02)
    pauses = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert len(starts) == 4  # at once, at once, after 0.5 s, after 1 s; the next would be after 2 s
    assert pauses[0] < 0.4
    assert 0.5 <= pauses[1] < 1.0 <= pauses[2]
    supervisor.stop()


def test_child_that_cannot_start_is_reported_with_its_last_words(make_app: MakeApp) -> None:
    supervisor = Supervisor([make_app("brittle", "raise SystemExit('no such module as that')")])
    with pytest.raises(StartupError, match=r"brittle does not stay alive[\s\S]*no such module as that"):
        supervisor.wait_until_healthy(10)
    assert supervisor.stop() == []


def test_child_that_never_gets_ready_is_reported(make_app: MakeApp) -> None:
    app: App = make_app("slow", SLEEP, is_ready=lambda _app: False)
    supervisor = Supervisor([app])
    with pytest.raises(StartupError, match="slow is not ready after"):
        supervisor.wait_until_healthy(0.3)
    record = app.record()
    assert supervisor.stop() == []
    assert processes.survivors([record]) == []


def test_stop_reaches_children_of_children(make_app: MakeApp) -> None:
    app = make_app("parent", f"import os; os.fork(); {SLEEP}")
    supervisor = Supervisor([app])
    supervisor.wait_until_healthy(5)
    record = app.record()
    tick_until(supervisor, lambda: len(processes.survivors([record])) == 2)
    assert supervisor.stop() == []
    assert processes.survivors([record]) == []


def test_second_stop_request_does_not_wait_for_the_stubborn(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    app = make_app("stubborn", f"{IGNORE_SIGTERM} open('deaf', 'w'); time.sleep(60)")
    supervisor = Supervisor([app])
    supervisor.wait_until_healthy(5)
    tick_until(supervisor, (tmp_path / "deaf").exists)
    record = app.record()
    monkeypatch.setattr(interrupts, "_received", [signal.SIGINT, signal.SIGINT])
    begun = time.monotonic()
    assert supervisor.stop() == []
    assert time.monotonic() - begun < 5
    assert processes.survivors([record]) == []


def test_stop_request_ends_the_watch(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    supervisor = Supervisor([make_app("app", SLEEP)])
    supervisor.wait_until_healthy(5)
    monkeypatch.setattr(interrupts, "_received", [signal.SIGTERM])
    with pytest.raises(interrupts.StopRequestedError):
        supervisor.watch()
    monkeypatch.setattr(interrupts, "_received", [])
    supervisor.stop()


def test_users_of_a_server_are_stopped_before_it(make_app: MakeApp, tmp_path: Path) -> None:
    say_goodbye = (
        "import pathlib, signal, sys, time\n"
        "def end(*_):\n"
        "    time.sleep({pause})\n"
        "    with open('order', 'a') as file: file.write('{name} ')\n"
        "    sys.exit()\n"
        "signal.signal(signal.{number}, end)\n"
        "pathlib.Path('{name}').touch()\n"
        "time.sleep(60)\n"
    )
    apps = {
        "database": make_app("a", say_goodbye.format(name="database", number="SIGINT", pause=0)),
        "redis": make_app("b", say_goodbye.format(name="redis", number="SIGTERM", pause=0)),
        "app": make_app("c", say_goodbye.format(name="app", number="SIGTERM", pause=0.5)),
    }
    for app in apps.values():
        app.start()
    assert processes.wait_until(lambda: all((tmp_path / role).exists() for role in apps), 5)
    records = [
        processes.Record(name=role, pid=app.record().pid, mark=app.record().mark, role=role)
        for role, app in apps.items()
    ]
    assert processes.stop(records, lambda: [app.reap() for app in apps.values()]) == []
    assert (tmp_path / "order").read_text().split() == ["app", "redis", "database"]
