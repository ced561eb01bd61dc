"""An answer is asked for: what is refused, what is limited, and what the sweeper does with what nobody works on."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from billing import ledger
from inference.catalogue import ModelUnavailable
from inference.generations import requesting
from inference.generations.endings import settle_generation, sweep_generations
from inference.generations.parameters import Parameters
from inference.models import PROGRAM_KEY, CatalogueModel, Generation, GenerationState, queue_of
from inference.prompting.prompts import Conversation, InvalidPrompt, Turn, encode_prompt
from inference.relay import streams
from inference.relay import writer as relay_writer
from tests.inference.asking import COMPLETION, PROMPT, ask, charge, in_thread, wait_for
from tests.support.cast import CREDIT, at_once, begin, fund, watch_database_for_long

pytestmark = pytest.mark.django_db(transaction=True)


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
    Generation.objects.update(heartbeat_at=timezone.now() - timedelta(seconds=60))
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
        Generation.objects.update(heartbeat_at=timezone.now() - timedelta(seconds=60))
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
    Generation.objects.update(created_at=timezone.now() - timedelta(hours=1))
    assert sweep_generations() == 1
    generation.refresh_from_db()
    assert (generation.state, generation.error) == (GenerationState.FAILED, "The queue was too long.")
    assert charge(alice) == (0, 0)
