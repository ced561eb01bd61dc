"""The model manager with real threads and the fake engine: loaded once, within the budget, never closed in use."""

import threading
import time
from collections import Counter
from contextlib import ExitStack
from typing import Any

import pytest

from inference.engine.base import EngineError, EngineRequest, Sampling
from inference.engine.fake import FakeEngine
from inference.worker.contracts import LeftWhileWaiting, Limits, LoadFailed, ManagerClosed, ModelSource, NoRoom
from inference.worker.manager import ModelManager
from tests.inference.engines import write
from tests.support.cast import at_once

SMALL, OTHER, THIRD = (ModelSource(key, key) for key in ("small", "other", "third"))
GB = 10**9


class Loader:
    """Loads fake engines of 4 GB each; `gate` holds every loading up, `problem` makes it fail."""

    def __init__(self):
        self.loads = Counter()
        self.engines = []
        self.sizes = {}
        self.free = 100 * GB
        self.gate = threading.Event()
        self.gate.set()
        self.problem = None
        self.is_missing = False
        self.reclaims = 0

    def measure(self, model):
        if self.is_missing:
            raise LoadFailed("Its files are missing.")
        return self.sizes.get(model.key, 4 * GB)

    def load(self, model):
        self.loads[model.key] += 1
        assert self.gate.wait(10)
        if self.problem is not None:
            raise self.problem
        engine = FakeEngine(step_seconds=0.002)
        self.engines.append((model.key, engine))
        return engine

    def free_bytes(self):
        return self.free

    def reclaim(self):
        self.reclaims += 1

    def alive(self):
        return [key for key, engine in self.engines if engine.is_alive()]


class Listener:
    def __init__(self):
        self.heard = []

    def model_loaded(self, model):
        self.heard.append((model.key, ""))

    def model_failed(self, model, reason):
        self.heard.append((model.key, reason))


@pytest.fixture
def loader():
    return Loader()


@pytest.fixture
def listener():
    return Listener()


@pytest.fixture
def manage(loader, listener):
    """Call it with limits for a manager; it is closed afterwards, and every engine with it."""
    with ExitStack() as stack:

        def make(gigabytes=10, **limits):
            manager = ModelManager(
                loader=loader, limits=Limits(budget_bytes=gigabytes * GB, **limits), listener=listener
            )
            stack.callback(manager.close)
            return manager

        yield make
        loader.gate.set()
    assert loader.alive() == []


def answer(manager, model, tokens=5, **options):
    """Ask once and return how many tokens came."""
    with manager.lease(model, **options) as engine:
        request = EngineRequest(f"{threading.get_ident()}-{time.monotonic()}", [2], tokens, Sampling())
        return write(engine, request)[-1].completion_tokens


def wait_for(condition, seconds=5):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.005)


def in_thread(work, *args, **options):
    """Run it in a thread; `.result` is what it returned or raised."""

    def run():
        try:
            thread.result = work(*args, **options)
        except Exception as error:  # noqa: BLE001  the test looks at it
            thread.result = error

    thread: Any = threading.Thread(target=run)
    thread.result = None
    thread.start()
    return thread


def test_twenty_threads_that_ask_at_once_load_once(manage, loader):
    manager = manage()
    assert at_once(20, lambda _n: answer(manager, SMALL)) == [5] * 20
    assert loader.loads == {"small": 1}


def test_two_models_load_at_the_same_time_when_there_is_room(manage, loader):
    manager = manage()
    loader.gate.clear()
    threads = [in_thread(answer, manager, model) for model in (SMALL, OTHER)]
    wait_for(lambda: loader.loads == {"small": 1, "other": 1})
    loader.gate.set()
    for thread in threads:
        thread.join(5)
    assert [thread.result for thread in threads] == [5, 5]


def test_who_leaves_while_the_model_loads_leaves_at_once_and_it_goes_on_loading(manage, loader):
    manager = manage()
    loader.gate.clear()
    left = threading.Event()
    leaver, stayer = in_thread(answer, manager, SMALL, left=left), in_thread(answer, manager, SMALL)
    wait_for(lambda: [model.waiting for model in manager.loaded_models()] == [2])
    left.set()
    manager.wake()
    leaver.join(0.5)
    assert isinstance(leaver.result, LeftWhileWaiting)
    loader.gate.set()
    stayer.join(5)
    assert stayer.result == 5


def test_memory_is_counted_before_the_loading(manage, loader):
    manager = manage(gigabytes=7)
    loader.gate.clear()
    first = in_thread(answer, manager, SMALL)
    wait_for(lambda: loader.loads["small"])
    second = in_thread(answer, manager, OTHER)
    time.sleep(0.2)
    assert loader.loads["other"] == 0  # 4 of 7 GB are spoken for, though nothing is loaded yet
    loader.gate.set()
    first.join(5)
    second.join(5)
    assert (first.result, second.result) == (5, 5)
    assert loader.alive() == ["other"]


def test_the_longest_unused_idle_model_makes_room(manage, loader):
    manager = manage()
    for model in (SMALL, OTHER, SMALL, THIRD):
        answer(manager, model)
    assert loader.alive() == ["small", "third"]


def test_a_model_in_use_is_never_closed_for_another(manage, loader):
    manager = manage(gigabytes=5, wait_seconds=0.4, turn_seconds=0.1)
    with manager.lease(SMALL) as engine:
        with pytest.raises(NoRoom, match="in use"):
            answer(manager, OTHER)
        assert engine.is_alive()
    assert answer(manager, OTHER) == 5
    assert loader.alive() == ["other"]
    assert manager.failures() == {}  # a full machine is nothing against the model


def test_a_model_in_use_gives_way_after_its_turn_even_when_requests_never_cease(manage, loader):
    manager = manage(gigabytes=5, wait_seconds=10, turn_seconds=0.3)
    enough = threading.Event()
    counts = Counter()

    def keep_asking(_n):
        while not enough.is_set():
            counts["small"] += answer(manager, SMALL, tokens=20)

    crowd = [in_thread(keep_asking, n) for n in range(4)]
    wait_for(lambda: counts["small"] > 100)
    began = time.monotonic()
    assert answer(manager, OTHER) == 5
    assert 0.25 < time.monotonic() - began < 3
    served = counts["small"]
    wait_for(lambda: counts["small"] > served)  # and the crowd gets its model back
    enough.set()
    for thread in crowd:
        thread.join(5)
    assert [thread.result for thread in crowd] == [None] * 4


def test_requests_for_two_models_that_do_not_fit_together_are_all_answered(manage, loader):
    manager = manage(gigabytes=5, wait_seconds=30, turn_seconds=0.1)
    assert at_once(12, lambda n: answer(manager, (SMALL, OTHER)[n % 2])) == [5] * 12
    assert len(loader.alive()) == 1


def test_a_model_larger_than_the_budget_says_what_it_needs_and_closes_nothing(manage, loader, listener):
    manager = manage()
    answer(manager, SMALL)
    loader.sizes["other"] = 36 * GB
    with pytest.raises(LoadFailed, match=r"needs 36\.0 GB of memory .*; 10\.0 GB can be had"):
        answer(manager, OTHER)
    assert loader.loads == {"small": 1}
    assert loader.alive() == ["small"]
    assert listener.heard[-1][0] == "other"


def test_what_the_device_really_has_free_counts_too(manage, loader):
    manager = manage()
    loader.free = 3 * GB
    with pytest.raises(LoadFailed, match=r"needs 4\.0 GB of memory .*; 3\.0 GB can be had"):
        answer(manager, SMALL)
    assert loader.loads == {}


def test_a_failed_loading_fails_all_who_wait_and_is_not_tried_again_at_once(manage, loader, listener):
    manager = manage(retry_seconds=0.3)
    loader.problem = LoadFailed("Its files cannot be read.")
    results = at_once(10, lambda _n: answer(manager, SMALL))
    assert [str(result) for result in results] == ["Its files cannot be read."] * 10
    assert loader.loads == {"small": 1}
    assert listener.heard == [("small", "Its files cannot be read.")]
    assert not manager.is_due("small")
    loader.problem = None
    wait_for(lambda: manager.is_due("small"))
    assert answer(manager, SMALL) == 5
    assert (manager.failures(), listener.heard[-1]) == ({}, ("small", ""))


def test_memory_is_reclaimed_after_a_loading_that_failed_not_after_one_that_could_not_begin(manage, loader):
    # Reclaiming stops every thread of the process: a model that is not there must not stall the others' answers.
    manager = manage(retry_seconds=0)
    loader.is_missing = True
    with pytest.raises(LoadFailed):
        answer(manager, SMALL)
    assert loader.reclaims == 0
    loader.is_missing, loader.problem = False, RuntimeError("corrupt")
    with pytest.raises(LoadFailed):
        answer(manager, SMALL)
    assert loader.reclaims == 1


def test_the_pause_doubles_with_each_failure(manage, loader):
    manager = manage(retry_seconds=0.1)
    loader.problem = MemoryError()
    for tries in range(1, 4):
        with pytest.raises(LoadFailed, match="the log of the worker says why"):
            answer(manager, SMALL)
        failed = time.monotonic()
        wait_for(lambda: manager.is_due("small"))
        assert time.monotonic() - failed > 0.08 * 2 ** (tries - 1)
    assert loader.loads == {"small": 3}


def test_a_listener_that_fails_harms_nobody(manage, loader, listener, monkeypatch, caplog):
    def explode(_model):
        raise OSError("the database is away")

    monkeypatch.setattr(listener, "model_loaded", explode)
    assert answer(manage(), SMALL) == 5
    assert "the listener failed" in caplog.text


def test_nobody_waiting_any_more_ends_the_wait_for_room(manage, loader):
    manager = manage(gigabytes=5, wait_seconds=30, turn_seconds=0.05)
    with manager.lease(SMALL):
        left = threading.Event()
        thread = in_thread(answer, manager, OTHER, left=left)
        wait_for(lambda: manager.loaded_models()[0].state == "making room")
        left.set()
        manager.wake()
        thread.join(10)
        assert isinstance(thread.result, LeftWhileWaiting)
        wait_for(lambda: [model.key for model in manager.loaded_models()] == ["small"])
        assert answer(manager, SMALL) == 5  # it takes requests again
    assert loader.loads == {"small": 1}


def test_a_dead_engine_is_closed_and_loaded_anew(manage, loader):
    manager = manage()
    answer(manager, SMALL)
    loader.engines[0][1].close()
    assert answer(manager, SMALL) == 5
    assert loader.loads == {"small": 2}


def test_idle_models_are_unloaded_but_not_pinned_ones_nor_those_in_use(manage, loader):
    manager = manage(gigabytes=20, idle_seconds=0.1, pinned=frozenset({"small"}))
    answer(manager, SMALL)
    answer(manager, OTHER)
    with manager.lease(THIRD):
        manager.unload_idle()
        assert sorted(loader.alive()) == ["other", "small", "third"]  # the time is not over
        time.sleep(0.15)
        manager.unload_idle()
        assert sorted(loader.alive()) == ["small", "third"]
    manager.unload_idle()
    assert sorted(loader.alive()) == ["small", "third"]  # its lease ended just now
    assert answer(manager, OTHER) == 5
    assert loader.loads["other"] == 2


def test_closing_ends_what_runs_and_what_waits(manage, loader):
    manager = manage()
    running = in_thread(answer, manager, SMALL, tokens=100_000)
    wait_for(lambda: any(model.running for model in manager.loaded_models()))
    loader.gate.clear()
    waiting = in_thread(answer, manager, OTHER)
    wait_for(lambda: loader.loads["other"])
    manager.close()
    running.join(2)
    waiting.join(2)
    assert isinstance(running.result, EngineError)
    assert isinstance(waiting.result, ManagerClosed)
    loader.gate.set()
    wait_for(lambda: len(loader.engines) == 2 and loader.alive() == [])  # loaded too late, closed at once
    with pytest.raises(ManagerClosed):
        answer(manager, SMALL)


def test_operators_see_what_is_loaded(manage, loader):
    manager = manage()
    before = time.time()
    with manager.lease(SMALL):
        [model] = manager.loaded_models()
        assert (model.key, model.state, model.memory_bytes, model.running) == ("small", "ready", 4 * GB, 1)
        assert before - 1 <= model.last_used_at <= time.time()
    assert manager.loaded_models()[0].running == 0
