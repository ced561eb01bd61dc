"""The life of a generation and who pays for what, with the real ledger, Redis and PostgreSQL."""

import threading

import pytest

from inference.engine.fake import FakeEngine
from inference.generations import endings
from inference.generations.endings import stop_generation
from inference.models import Generation, GenerationState
from inference.relay import streams
from inference.worker.worker import Worker
from tests.inference.asking import COMPLETION, PROMPT, ask, charge, in_thread, wait_for
from tests.inference.engines import give_engine
from tests.support.cast import at_once, begin

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_completed_answer_costs_prompt_and_completion_tokens(alice, catalogue, worker, engine, faults):
    engine.length = 7
    generation = ask(alice, catalogue)
    assert charge(alice) == (0, generation.prompt_tokens * PROMPT + 20 * COMPLETION)
    worker.serve(generation.model_id)
    generation.refresh_from_db()
    assert (generation.state, generation.finish_reason, generation.completion_tokens) == ("completed", "stop", 7)
    assert charge(alice) == (generation.prompt_tokens * PROMPT + 7 * COMPLETION, 0)
    assert generation.text.startswith("The quick brown fox")
    assert generation.prompt_token_ids == []
    assert faults() == []


def test_an_answer_that_reaches_its_length_costs_all_of_it(alice, catalogue, worker, engine):
    generation = ask(alice, catalogue, max_tokens=5)
    worker.serve(generation.model_id)
    generation.refresh_from_db()
    assert (generation.finish_reason, generation.completion_tokens) == ("length", 5)
    assert charge(alice) == (generation.prompt_tokens * PROMPT + 5 * COMPLETION, 0)


def test_stop_costs_the_prompt_and_the_tokens_produced_until_then(alice, catalogue, worker, engine, faults):
    engine.step_seconds = 0.02
    generation = ask(alice, catalogue, max_tokens=500)
    thread = in_thread(worker.serve, generation.model_id)
    wait_for(lambda: streams.read_text(generation.pk)[1] >= 3)
    stop_generation(generation=generation)
    thread.join(timeout=2)
    assert not thread.is_alive()
    generation.refresh_from_db()
    assert generation.state == GenerationState.STOPPED
    assert generation.completion_tokens == len(generation.text.split())
    assert charge(alice) == (generation.prompt_tokens * PROMPT + generation.completion_tokens * COMPLETION, 0)
    assert streams.read_text(generation.pk)[0] == generation.text
    assert faults() == []


def test_stop_while_queued_costs_nothing(alice, catalogue, worker, engine, faults):
    generation = ask(alice, catalogue)
    stop_generation(generation=generation)
    worker.serve(generation.model_id)  # the task still arrives: it finds nothing to do
    generation.refresh_from_db()
    assert (generation.state, generation.text) == (GenerationState.CANCELLED, "")
    assert charge(alice) == (0, 0)
    assert faults() == []


def test_stop_while_the_model_loads_costs_nothing(alice, catalogue, faults, monkeypatch):
    worker = Worker()
    loading, go_on = threading.Event(), threading.Event()

    def load(_model):
        loading.set()
        go_on.wait(5)
        return FakeEngine()

    monkeypatch.setattr(worker.models._loader, "load", load)
    generation = ask(alice, catalogue)
    thread = in_thread(worker.serve, generation.model_id)
    assert loading.wait(60)  # torch is imported first
    stop_generation(generation=generation)
    thread.join(timeout=2)  # while the model goes on loading
    assert not thread.is_alive()
    go_on.set()
    generation.refresh_from_db()
    assert generation.state == GenerationState.CANCELLED
    assert charge(alice) == (0, 0)
    assert faults() == []


def test_stop_of_an_ended_answer_changes_nothing(alice, catalogue, worker, engine):
    generation = ask(alice, catalogue, max_tokens=3)
    worker.serve(generation.model_id)
    before = charge(alice)
    stop_generation(generation=generation)
    generation.refresh_from_db()
    assert generation.state == GenerationState.COMPLETED
    assert charge(alice) == before


def test_stop_and_the_end_of_the_answer_at_once_charge_once(alice, catalogue, worker, engine, faults):
    for _ in range(10):
        generation = ask(alice, catalogue, max_tokens=5)
        at_once(
            2,
            lambda n, generation=generation: (
                stop_generation(generation=generation) if n else worker.serve(generation.model_id)
            ),
        )
        generation.refresh_from_db()
        assert not generation.is_live
    assert faults() == []


def test_a_failing_engine_costs_nothing_and_keeps_the_text(alice, catalogue, worker, engine, faults):
    engine.fails_at = 4
    generation = ask(alice, catalogue)
    worker.serve(generation.model_id)
    generation.refresh_from_db()
    assert generation.state == GenerationState.FAILED
    assert generation.text == "The quick brown"
    assert charge(alice) == (0, 0)
    assert faults() == []


def test_an_unexpected_error_costs_nothing_and_tells_no_internals(alice, catalogue, worker, engine, monkeypatch):
    def explode(_request, _on_delta):
        raise RuntimeError("secret path")

    monkeypatch.setattr(engine, "write", explode)
    generation = ask(alice, catalogue)
    worker.serve(generation.model_id)
    generation.refresh_from_db()
    assert generation.error == "Something went wrong on our side."
    assert charge(alice) == (0, 0)


def test_an_end_that_cannot_be_written_charges_nothing(alice, catalogue, worker, engine, faults):
    """A spend must never be off the books of what it paid for: the charge and the answer commit together."""
    failures = iter([RuntimeError("the disk is full")])

    def refuse_once(generation, **_kwargs):
        for failure in failures:
            raise failure

    generation = ask(alice, catalogue)
    endings.generation_ended.connect(refuse_once)
    try:
        worker.serve(generation.model_id)
    finally:
        endings.generation_ended.disconnect(refuse_once)
    generation.refresh_from_db()
    assert generation.state == GenerationState.FAILED
    assert charge(alice) == (0, 0)
    assert faults() == []


def test_an_answer_that_takes_too_long_costs_nothing(alice, catalogue, worker, engine, settings):
    settings.GENERATION_SECONDS = 0
    settings.HEARTBEAT_SECONDS = 0.05
    engine.step_seconds = 0.05
    generation = ask(alice, catalogue, max_tokens=500)
    worker.serve(generation.model_id)
    generation.refresh_from_db()
    assert (generation.state, generation.error) == (GenerationState.FAILED, "It took too long.")
    assert charge(alice) == (0, 0)


def test_a_dead_engine_is_built_anew_for_the_next_request(alice, catalogue, worker, engine):
    engine.close()
    generation = ask(alice, catalogue, max_tokens=3)
    worker.serve(generation.model_id)
    generation.refresh_from_db()
    assert generation.state == GenerationState.COMPLETED


def test_shutting_down_interrupts_what_still_runs_for_nothing(alice, catalogue, settings, faults):
    settings.SHUTDOWN_GRACE_SECONDS = 0.1
    worker = Worker()
    give_engine(worker, FakeEngine(step_seconds=0.02))
    generation = ask(alice, catalogue, max_tokens=1000)
    thread = in_thread(worker.serve, generation.model_id)
    wait_for(lambda: streams.read_text(generation.pk)[1] >= 1)
    worker.shut_down()
    thread.join(timeout=5)
    generation.refresh_from_db()
    assert (generation.state, generation.error) == (GenerationState.FAILED, "The service was restarted.")
    assert charge(alice) == (0, 0)
    assert faults() == []


def test_a_task_delivered_twice_runs_once(alice, catalogue, worker, engine, faults):
    engine.step_seconds = 0.002
    generation = ask(alice, catalogue)
    at_once(4, lambda _n: worker.serve(generation.model_id))
    worker.serve(generation.model_id)
    assert Generation.objects.get().state == GenerationState.COMPLETED
    assert charge(alice)[0] == generation.prompt_tokens * PROMPT + 20 * COMPLETION
    assert faults() == []


def test_one_of_many_workers_claims_a_row_and_nobody_an_ended_one(alice, catalogue):
    generation = ask(alice, catalogue)
    assert at_once(6, lambda _n: begin(generation)).count(True) == 1
    endings.fail_generation(generation_id=generation.pk, error="test")
    assert not begin(generation)


def test_an_ended_answer_is_ended_no_second_time(alice, catalogue, faults):
    generation = ask(alice, catalogue)
    begin(generation)
    end = {"generation_id": generation.pk, "text": "late", "completion_tokens": 3, "finish_reason": "stop"}
    assert endings.fail_generation(generation_id=generation.pk, error="test") is not None
    assert endings.settle_generation(**end) is None
    assert endings.fail_generation(generation_id=generation.pk, error="again") is None
    generation.refresh_from_db()
    assert (generation.error, generation.text) == ("test", "")
    assert charge(alice) == (0, 0)
    assert faults() == []
