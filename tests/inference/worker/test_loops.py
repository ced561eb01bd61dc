"""Threads on which money hangs outlive every error, and are begun anew should they end all the same."""

import threading

import pytest
from django.db import InterfaceError

from core.loops import Loop
from inference.engine.fake import FakeEngine
from inference.worker.worker import Worker
from tests.inference.asking import ask, wait_for
from tests.inference.engines import give_engine

pytestmark = pytest.mark.django_db(transaction=True)
ERRORS = [InterfaceError("connection already closed"), ValueError("nobody foresaw it"), MemoryError()]


@pytest.fixture
def worker():
    return Worker()


@pytest.fixture
def engine(worker):
    return give_engine(worker, FakeEngine())


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_step_that_fails_is_followed_by_the_next(error):
    ended, steps = threading.Event(), []

    def step():
        steps.append(1)
        if len(steps) == 1:
            raise error

    Loop("test", step, pause_seconds=0.001, ended=ended).revive()
    wait_for(lambda: len(steps) > 3)
    ended.set()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_ended_is_begun_anew_and_one_that_runs_is_not(caplog):
    ended, threads = threading.Event(), []

    def step():
        threads.append(threading.current_thread())
        if len(threads) == 1:
            raise SystemExit

    loop = Loop("test", step, pause_seconds=0.001, ended=ended)
    loop.revive()
    wait_for(lambda: threads and not threads[0].is_alive())
    loop.revive()
    loop.revive()
    wait_for(lambda: len(threads) > 3)
    assert len(set(threads)) == 2
    ended.set()
    wait_for(lambda: not threads[-1].is_alive())
    loop.revive()
    assert not threads[-1].is_alive()


def test_heartbeats_go_on_after_an_error_that_is_none_of_the_database(
    alice, catalogue, worker, engine, monkeypatch, settings
):
    """An InterfaceError ended the thread of heartbeats, and with it, ten seconds later, every healthy answer."""
    engine.step_seconds = 0.05
    beats, beat = [], worker._beat_once

    def fail_once(jobs):
        beats.append(1)
        if len(beats) == 1:
            raise InterfaceError("connection already closed")
        beat(jobs)

    monkeypatch.setattr(worker, "_beat_once", fail_once)
    generation = ask(alice, catalogue, max_tokens=1000)
    serving = threading.Thread(target=worker.serve, args=(generation.model_id,))
    serving.start()
    wait_for(lambda: len(beats) >= 2, 30)
    for job in list(worker.seats.jobs.values()):
        job.stop()
    serving.join(timeout=20)


def test_a_killed_thread_of_heartbeats_is_begun_anew_by_the_next_ticket(alice, catalogue, worker, engine):
    loop = next(loop for loop in worker._loops if loop.name == "worker_beat")
    loop._thread = threading.Thread(target=lambda: None)
    loop._thread.start()
    loop._thread.join()
    worker.serve(ask(alice, catalogue).model_id)
    assert loop._thread.is_alive()
