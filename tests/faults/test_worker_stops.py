"""SIGTERM to a real worker process with an engine of a known pace: nothing is lost, nobody pays for what was cut."""

import time

import pytest
from django.conf import settings as django_settings

from inference.generations.endings import stop_generation
from inference.models import CatalogueModel, GenerationState
from inference.relay import streams
from inference.worker import status as manager_status
from inference.worker.worker import RESTARTED
from tests.faults.workers import states, tokens_of, wait_for
from tests.inference.asking import COMPLETION, PROMPT, ask, charge

pytestmark = [pytest.mark.e2e, pytest.mark.django_db(transaction=True)]


def test_sigterm_finishes_what_runs_takes_nothing_new_and_exits(alice, catalogue, start, faults):
    worker = start("first", STEP_SECONDS="0.02", SHUTDOWN_GRACE_SECONDS="10").wait_ready()
    running = ask(alice, catalogue, max_tokens=100)
    wait_for(lambda: tokens_of(running) > 3, 60)
    worker.terminate()
    time.sleep(0.3)
    late = ask(alice, catalogue, max_tokens=5)
    worker.wait_ended()
    assert states(running, late) == [GenerationState.COMPLETED, GenerationState.QUEUED]
    running.refresh_from_db()
    paid = running.prompt_tokens * PROMPT + 100 * COMPLETION
    assert charge(alice) == (paid, late.prompt_tokens * PROMPT + 5 * COMPLETION)  # and the late one's hold
    start("second", STEP_SECONDS="0.001").wait_ready()
    wait_for(lambda: states(late) == [GenerationState.COMPLETED], 20)
    assert charge(alice) == (paid + late.prompt_tokens * PROMPT + 5 * COMPLETION, 0)
    assert faults() == []


def test_what_outlasts_the_grace_time_is_interrupted_for_free(alice, catalogue, start, faults):
    worker = start("first", STEP_SECONDS="0.02", SHUTDOWN_GRACE_SECONDS="1").wait_ready()
    running = ask(alice, catalogue, max_tokens=2000)
    wait_for(lambda: tokens_of(running) > 3, 60)
    began = worker.terminate()
    worker.wait_ended()
    assert 1 <= time.monotonic() - began < 8
    running.refresh_from_db()
    assert (running.state, running.error) == (GenerationState.FAILED, RESTARTED)
    assert running.text.startswith("The quick brown ")
    assert streams.read_text(running.pk)[0] == running.text
    assert charge(alice) == (0, 0)
    assert faults() == []


def test_a_second_sigterm_breaks_nothing(alice, catalogue, start, faults):
    worker = start("first", STEP_SECONDS="0.02", SHUTDOWN_GRACE_SECONDS="10").wait_ready()
    running = ask(alice, catalogue, max_tokens=60)
    wait_for(lambda: tokens_of(running) > 3, 60)
    for _ in range(3):
        worker.terminate()
        time.sleep(0.2)
    worker.wait_ended()
    assert states(running) == [GenerationState.COMPLETED]
    assert "Traceback" not in worker.log.read_text()
    assert faults() == []


def test_what_waits_for_its_model_is_handed_back_and_another_worker_answers(alice, catalogue, start, faults):
    slow = start("first", LOADING_SECONDS="25", SHUTDOWN_GRACE_SECONDS="30").wait_ready()
    asked = [ask(alice, catalogue, max_tokens=5) for _ in range(12)]  # more than its eight threads
    wait_for(lambda: states(*asked).count(GenerationState.RUNNING) == 8, 20)
    quick = start("second", STEP_SECONDS="0.001").wait_ready()
    slow.terminate()
    wait_for(lambda: states(*asked) == [GenerationState.COMPLETED] * 12, 18)  # the sweeper and the loading take longer
    slow.wait_ended()
    assert charge(alice) == (sum(g.prompt_tokens * PROMPT + 5 * COMPLETION for g in asked), 0)
    assert quick.process.poll() is None
    assert faults() == []


def test_stop_of_what_was_handed_back_costs_nothing(alice, catalogue, start, faults):
    worker = start("first", LOADING_SECONDS="5", SHUTDOWN_GRACE_SECONDS="20").wait_ready()
    asked = ask(alice, catalogue)
    wait_for(lambda: states(asked) == [GenerationState.RUNNING], 20)
    worker.terminate()
    wait_for(lambda: states(asked) == [GenerationState.QUEUED], 3)
    stop_generation(generation=asked)
    assert states(asked) == [GenerationState.CANCELLED]
    worker.wait_ended()
    assert states(asked) == [GenerationState.CANCELLED]
    assert charge(alice) == (0, 0)
    assert faults() == []


def test_a_worker_preloads_before_it_is_ready_and_says_what_it_has(alice, catalogue, start):
    CatalogueModel.objects.update(unavailable_reason="Not tried yet.")
    worker = start("first", PRELOAD_MODELS="gemma-3-270m", LOADING_SECONDS="1").wait_ready()
    [status] = wait_for(manager_status.read_workers, 10)
    assert status.name.startswith("first@")
    assert status.pid == worker.process.pid
    assert status.ready_models == {"gemma-3-270m"}
    assert 2e9 < status.counted_bytes < status.budget_bytes
    assert CatalogueModel.objects.get(pk=catalogue.pk).is_available
    assert not CatalogueModel.objects.get(pk="gemma-3-1b").is_available  # not one of its queues
    asked = ask(alice, catalogue, max_tokens=200)
    wait_for(lambda: manager_status.read_workers()[0].running == 1, 10)
    assert wait_for(lambda: [m.running for m in manager_status.read_workers()[0].models] == [1], 10)
    wait_for(lambda: states(asked) == [GenerationState.COMPLETED], 20)
    worker.terminate()
    worker.wait_ended()
    assert manager_status.read_workers() == []


def test_a_model_that_turns_up_later_is_found_by_the_worker(alice, catalogue, start, tmp_path):
    models = tmp_path / "models"
    CatalogueModel.objects.filter(pk=catalogue.pk).update(unavailable_reason="Not tried yet.")
    start("first", MODEL_DIR=str(models), MODEL_RETRY_SECONDS="0.5").wait_ready()
    row = CatalogueModel.objects.filter(pk=catalogue.pk)
    wait_for(lambda: "not on this machine" in row.get().unavailable_reason, 10)
    wait_for(lambda: "gemma-3-270m" in manager_status.read_workers()[0].failures, 10)
    models.mkdir()
    (models / "gemma-3-270m").symlink_to(django_settings.MODEL_DIR / "gemma-3-270m")
    wait_for(lambda: row.get().is_available, 20)
