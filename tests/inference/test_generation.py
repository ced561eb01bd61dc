"""The life of a generation and who pays for what (money.md), with the real ledger, Redis and PostgreSQL."""

import threading
import time
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from billing import ledger
from inference.catalogue import ModelUnavailable
from inference.engine.fake import FakeEngine
from inference.generations import endings, requesting
from inference.generations.endings import settle_generation, stop_generation, sweep_generations
from inference.generations.parameters import Parameters
from inference.generations.requesting import request_generation
from inference.models import PROGRAM_KEY, CatalogueModel, Generation, GenerationState, queue_of
from inference.prompting.prompts import Conversation, InvalidPrompt, Turn, encode_prompt
from inference.relay import streams
from inference.relay import writer as relay_writer
from inference.worker.worker import Worker
from tests.cast import CREDIT, at_once, begin, fund, watch_database_for_long
from tests.inference.engines import give_engine

pytestmark = pytest.mark.django_db(transaction=True)
PROMPT, COMPLETION = 20, 40


@pytest.fixture(scope="module")
def worker():
    return Worker()


@pytest.fixture
def engine(worker):
    """The fake engine in the worker; set its attributes to make it slow or fail."""
    return give_engine(worker, FakeEngine())


def ask(user, model, max_tokens=20, key=None, text="Tell me a story."):
    return request_generation(
        user=user,
        model=model,
        prompt=Conversation([Turn("user", text)]),
        parameters=Parameters(max_tokens=max_tokens),
        idempotency_key=key or str(uuid4()),
        inputs_hash="test",
    )


def charge(user):
    """What the wallet has paid so far, and what is held."""
    user.wallet.refresh_from_db()
    granted = sum(user.wallet.entries.filter(kind="bonus").values_list("amount_microcredits", flat=True))
    return granted - user.wallet.balance_microcredits, user.wallet.held_microcredits


def in_thread(work, *args):
    thread = threading.Thread(target=work, args=args)
    thread.start()
    return thread


def wait_for(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


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


def test_twenty_at_once_from_a_wallet_that_affords_three(bob, catalogue, worker, engine, faults):
    prompt_tokens = ask_price(bob, catalogue)
    worst = prompt_tokens * PROMPT + 20 * COMPLETION
    fund(bob, 3 * worst, key="three")
    results = at_once(20, lambda n: ask(bob, catalogue, key=f"race-{n}"))
    made = [result for result in results if isinstance(result, Generation)]
    assert len(made) == 3
    assert sum(isinstance(result, ledger.InsufficientCredits) for result in results) == 17
    at_once(3, lambda n: worker.serve(made[n].model_id))
    assert set(Generation.objects.values_list("state", flat=True)) == {"completed"}
    bob.wallet.refresh_from_db()
    assert (bob.wallet.balance_microcredits, bob.wallet.held_microcredits) == (0, 0)
    assert faults() == []


def test_nobody_is_trusted_staff_without_credits_is_refused_like_everybody(staff, catalogue):
    with pytest.raises(ledger.InsufficientCredits):
        ask(staff, catalogue)
    fund(staff, CREDIT)
    generation = ask(staff, catalogue)
    staff.wallet.refresh_from_db()
    assert staff.wallet.held_microcredits == generation.hold.amount_microcredits > 0


def ask_price(user, model):
    """How many tokens the test's prompt has."""
    return len(encode_prompt(model=model, prompt=Conversation([Turn("user", "Tell me a story.")])))


def test_the_length_is_limited_by_the_balance_and_says_so(bob, catalogue):
    fund(bob, ask_price(bob, catalogue) * PROMPT + 30 * COMPLETION)
    generation = ask(bob, catalogue, max_tokens=2000)
    assert generation.max_completion_tokens == 30
    assert generation.is_limited_by_balance


def test_a_tiny_prompt_is_not_refused_because_max_tokens_was_large(bob, catalogue):
    fund(bob, 10_000)
    assert ask(bob, catalogue, max_tokens=10**9).max_completion_tokens > 100


def test_a_prompt_longer_than_the_context_says_by_how_many_tokens(alice, catalogue):
    with pytest.raises(InvalidPrompt, match=r"(\d[\d,]*) tokens too long: it has"):
        ask(alice, catalogue, text="word " * 9000)
    assert charge(alice) == (0, 0)
    assert Generation.objects.count() == 0


def test_a_prompt_that_leaves_room_for_one_token_is_answered(alice, catalogue, worker, engine):
    CatalogueModel.objects.update(context_tokens=ask_price(alice, catalogue) + 1, max_completion_tokens=1)
    catalogue.refresh_from_db()
    assert ask(alice, catalogue, max_tokens=50).max_completion_tokens == 1


def test_an_unavailable_model_says_why_and_costs_nothing(alice, catalogue):
    model = CatalogueModel.objects.get(key="gemma-3-12b")
    with pytest.raises(ModelUnavailable, match="not on this machine"):
        ask(alice, model)
    assert charge(alice) == (0, 0)


@pytest.mark.parametrize(
    "values",
    [
        {"temperature": -0.1},
        {"temperature": 2.1},
        {"temperature": float("nan")},
        {"top_p": 0},
        {"top_p": 1.1},
        {"top_k": 0},
        {"top_k": 65},
        {"min_p": -0.1},
        {"min_p": 1},
        {"min_p": float("nan")},
        {"repetition_penalty": 0.9},
        {"repetition_penalty": 2.1},
        {"frequency_penalty": 2.1},
        {"presence_penalty": -2.1},
        {"presence_penalty": float("nan")},
        {"max_tokens": 0},
        {"stop": ("",)},
        {"stop": ("x",) * 1000},
        {"stop": ("x" * 201,)},
    ],
)
def test_parameters_out_of_range_are_refused(values):
    with pytest.raises(InvalidPrompt):
        Parameters(**values)


@pytest.mark.parametrize(("key", "message"), [("a form's", ["UPDATE"]), (f"{PROGRAM_KEY}1", [])])
def test_what_an_answer_asks_of_the_database(alice, catalogue, key, message):
    with CaptureQueriesContext(connection) as asked:
        generation = ask(alice, catalogue, key=key)
    assert begin(generation)
    with CaptureQueriesContext(connection) as ended:
        settle_generation(generation_id=generation.pk, text="Hello", completion_tokens=7, finish_reason="stop")
    first_words = [[query["sql"].split()[0] for query in each] for each in (asked, ended)]
    assert first_words[0] == ["BEGIN", "SELECT", "WITH", "COMMIT"]  # the call of the hold, the row
    # The row, the call of the settlement, and the message in a chat.
    assert first_words[1] == ["BEGIN", "UPDATE", "SELECT", *message, "COMMIT"]


def test_the_broker_being_down_costs_nothing_and_says_so(alice, catalogue, monkeypatch, faults):
    from config import celery_app

    with celery_app.connection("redis://127.0.0.1:1/0") as nowhere:
        monkeypatch.setattr(requesting, "send_ticket", lambda model_key: publish_to(nowhere, model_key))
        with pytest.raises(requesting.QueueUnavailable, match="Nothing was charged"):
            ask(alice, catalogue)
    generation = Generation.objects.get()
    assert generation.state == GenerationState.FAILED
    assert charge(alice) == (0, 0)
    assert faults() == []


def publish_to(connection, model_key):
    from celery import current_app

    kwargs = {"model_key": model_key}
    current_app.send_task("inference.generate", kwargs=kwargs, queue=queue_of(model_key), connection=connection)


def test_the_sweeper_ends_an_answer_whose_worker_went_silent(alice, catalogue, faults):
    generation = ask(alice, catalogue)
    assert begin(generation)
    writer = relay_writer.RelayWriter(generation.pk)
    writer.write("It was a dark and", 4)
    wait_for(lambda: streams.read_text(generation.pk)[1] == 4)
    assert sweep_generations() == 0  # the worker was heard of just now
    Generation.objects.update(heartbeat_at=timezone.now() - timezone.timedelta(seconds=60))
    watch_database_for_long()
    assert sweep_generations() == 1
    assert sweep_generations() == 0
    generation.refresh_from_db()
    assert (generation.state, generation.text) == (GenerationState.FAILED, "It was a dark and")
    assert charge(alice) == (0, 0)
    assert faults() == []


def test_a_worker_that_wakes_up_after_the_sweep_charges_nothing(alice, catalogue, worker, engine, faults):
    engine.step_seconds = 0.05
    generation = ask(alice, catalogue, max_tokens=100)
    thread = in_thread(worker.serve, generation.model_id)
    wait_for(lambda: streams.read_text(generation.pk)[1] >= 1)

    def is_swept():  # the worker, which is alive here, may say so in between
        Generation.objects.update(heartbeat_at=timezone.now() - timezone.timedelta(seconds=60))
        watch_database_for_long()
        return sweep_generations() == 1

    wait_for(is_swept)
    thread.join(timeout=10)
    generation.refresh_from_db()
    assert generation.state == GenerationState.FAILED
    assert charge(alice) == (0, 0)
    assert faults() == []


def test_the_sweeper_ends_what_waited_too_long(alice, catalogue, faults):
    generation = ask(alice, catalogue)
    Generation.objects.update(created_at=timezone.now() - timezone.timedelta(hours=1))
    assert sweep_generations() == 1
    generation.refresh_from_db()
    assert (generation.state, generation.error) == (GenerationState.FAILED, "The queue was too long.")
    assert charge(alice) == (0, 0)
