"""What a web process did not hand over before it was gone costs nothing; what it handed over costs its price."""

import threading
import time
from datetime import timedelta
from uuid import uuid4

import httpx
import pytest
from django.utils import timezone

from billing.models import LedgerEntry
from inference.catalogue import DEMO_KEY
from inference.generations import deliveries
from inference.generations.deliveries import Deliverer, deliverer, sweep_deliveries
from inference.models import Delivery, Generation, GenerationState, WebProcess
from tests.support.cast import watch_database_for_long
from tests.support.openai_clients import price
from tests.support.stack import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

BODY = {"model": DEMO_KEY, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 30}
STREAM = BODY | {"stream": True}


@pytest.fixture(autouse=True)
def _own_deliveries():
    """The tables were emptied, the row of this process with them, which it would write again within two seconds."""
    deliverer()._heard_at = float("-inf")
    yield
    deliverer()._open.clear()
    deliverer()._doubtful.clear()


def ask(http, body=BODY, **headers):
    return http.post("/v1/chat/completions", json=body, headers=headers)


def process_dies():
    """As the database sees it when a web process was killed some time ago."""
    long_ago = timezone.now() - timedelta(minutes=1)
    Delivery.objects.update(process_id=uuid4(), created_at=long_ago)
    watch_database_for_long()


def in_the_background(http, body):
    answers = []
    thread = threading.Thread(target=lambda: answers.append(ask(http, body)))
    thread.start()
    wait_until(Delivery.objects.exists, 5, "the request")
    return thread, answers


@pytest.mark.parametrize("body", [BODY, STREAM])
def test_what_is_handed_over_leaves_nothing_behind_and_costs_its_price(http, paid, faults, body):
    assert ask(http, body).status_code == 200
    wait_until(lambda: not Delivery.objects.exists(), 2, "the delivery to be noted")
    process_dies()
    assert sweep_deliveries() == 0
    assert paid() == (price(Generation.objects.get()), 0)
    assert faults() == []


@pytest.mark.parametrize("body", [BODY, STREAM])
def test_a_process_that_dies_under_an_answer_costs_nothing(http, engine, paid, faults, body):
    engine.step_seconds = 0.1
    thread, _answers = in_the_background(http, body)
    process_dies()
    assert sweep_deliveries() == 1
    assert sweep_deliveries() == 0
    thread.join()
    generation = Generation.objects.get()
    assert (generation.state, generation.error) == (GenerationState.FAILED, deliveries.LOST)
    assert not Delivery.objects.exists()
    assert paid() == (0, 0)
    assert faults() == []


def test_a_process_that_dies_with_the_whole_answer_in_its_hands_costs_nothing(http, alice, paid, faults, monkeypatch):
    monkeypatch.setattr(Deliverer, "close", lambda *_: None)
    ask(http)
    generation = Generation.objects.get()
    assert paid() == (price(generation), 0)
    process_dies()
    assert sweep_deliveries() == 1
    assert sweep_deliveries() == 0
    assert paid() == (0, 0)
    entries = LedgerEntry.objects.filter(hold=generation.hold_id).order_by("pk")
    assert [entry.kind for entry in entries] == ["usage", "refund"]
    assert entries[1].reason == deliveries.LOST
    generation.refresh_from_db()
    assert generation.text  # it is kept all the same
    assert faults() == []


def test_two_sweepers_at_once_give_back_once(http, paid, faults, monkeypatch):
    from tests.support.cast import at_once

    monkeypatch.setattr(Deliverer, "close", lambda *_: None)
    ask(http)
    process_dies()
    assert sum(at_once(4, lambda _n: sweep_deliveries())) == 1
    assert paid() == (0, 0)
    assert faults() == []


def test_a_process_that_is_heard_of_keeps_its_answers_however_long_they_take(http, engine, settings, paid, faults):
    settings.WORKER_SILENT_SECONDS, settings.HEARTBEAT_SECONDS = 1.0, 0.2
    engine.step_seconds = 0.1
    watch_database_for_long()
    thread, answers = in_the_background(http, BODY)
    for _ in range(25):
        assert sweep_deliveries() == 0
        watch_database_for_long()
        time.sleep(0.1)
    thread.join()
    assert answers[0].status_code == 200
    assert paid() == (price(Generation.objects.get()), 0)


@pytest.mark.parametrize("is_heard_of_first", [False, True])
@pytest.mark.parametrize("body", [BODY, STREAM])
def test_a_process_that_froze_hands_nothing_over_that_was_given_back(
    http, engine, paid, faults, monkeypatch, body, is_heard_of_first
):
    """It wakes up with the whole answer before it, after the sweeper had to think that it was gone."""
    engine.step_seconds = 0.05
    beat = Deliverer._beat
    monkeypatch.setattr(Deliverer, "_beat", lambda *_: None)
    thread, answers = in_the_background(http, body)
    wait_until(lambda: Generation.objects.filter(state=GenerationState.RUNNING).exists(), 5, "the beginning")
    deliverer()._heard_at = float("-inf")
    Delivery.objects.all().delete()  # what the sweeper leaves behind
    if is_heard_of_first:
        beat(deliverer())
    thread.join()
    assert "restarted before the answer was handed over" in answers[0].text
    assert "[DONE]" not in answers[0].text
    assert answers[0].status_code == (200 if body is STREAM else 500)


def test_an_answer_with_a_key_is_kept_for_its_retry_whatever_dies(http, engine, paid, faults):
    engine.step_seconds = 0.05
    answer = ask(http, **{"Idempotency-Key": "order-1"})
    assert not Delivery.objects.exists()
    process_dies()
    assert sweep_deliveries() == 0
    assert paid() == (price(Generation.objects.get()), 0)
    assert ask(http, **{"Idempotency-Key": "order-1"}).content == answer.content


def test_a_client_that_leaves_is_no_process_that_dies(http, engine, paid, faults):
    engine.length, engine.step_seconds = 1000, 0.05
    with pytest.raises(httpx.ReadTimeout):
        http.post("/v1/chat/completions", json=BODY, timeout=0.4)
    wait_until(lambda: not Generation.objects.live().exists() and not Delivery.objects.exists(), 5, "the end")
    process_dies()
    assert sweep_deliveries() == 0
    assert paid() == (price(Generation.objects.get()), 0)


def test_a_retry_that_another_process_took_over_is_handed_over_by_that_one(http, engine, paid, faults):
    engine.step_seconds = 0.1
    thread, _answers = in_the_background(http, BODY)
    Generation.objects.update(client_attempt=0)
    process_dies()
    answer = ask(http, **{"x-stainless-retry-count": "1"})
    thread.join()
    assert sweep_deliveries() == 0
    assert answer.status_code == 200
    assert Generation.objects.count() == 1
    assert paid() == (price(Generation.objects.get()), 0)
    assert faults() == []


def test_an_answer_that_was_given_back_is_taken_over_by_no_retry(http, paid, faults, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(Deliverer, "close", lambda *_: None)
        ask(http, **{"x-stainless-retry-count": "0"})
    process_dies()
    assert sweep_deliveries() == 1
    assert ask(http, **{"x-stainless-retry-count": "1"}).status_code == 200
    assert Generation.objects.count() == 2
    assert paid() == (price(Generation.objects.latest("created_at")), 0)
    assert faults() == []


def test_asking_again_for_what_was_handed_over_makes_nobody_wait_for_a_restart_to_be_paid_back(http, paid, faults):
    ask(http, **{"x-stainless-retry-count": "0"})
    wait_until(lambda: not Delivery.objects.exists(), 2, "the delivery to be noted")
    assert ask(http, **{"x-stainless-retry-count": "1"}).status_code == 200
    process_dies()
    assert sweep_deliveries() == 0
    assert paid() == (price(Generation.objects.get()), 0)


@pytest.mark.parametrize("body", [BODY, STREAM])
def test_our_own_mistake_after_the_charge_gives_it_back(http, paid, faults, monkeypatch, body):
    from inference.openai import answers as openai_answers

    def break_down(_generation_id):
        wait_until(lambda: not Generation.objects.live().exists(), 5, "the charge")
        raise ZeroDivisionError

    monkeypatch.setattr(openai_answers, "read_answer", break_down)
    answer = ask(http, body)
    assert "went wrong on our side" in answer.text
    assert paid() == (0, 0)
    assert not Delivery.objects.exists()
    assert LedgerEntry.objects.filter(kind="refund").count() == 1
    assert faults() == []


def test_a_row_that_its_process_does_not_know_of_is_seen_to_while_it_lives(http, paid, faults, monkeypatch):
    """It failed between the commit and the note that it has to hand this over."""
    monkeypatch.setattr(Deliverer, "take_on", lambda *_: None)
    ask(http)
    Delivery.objects.update(created_at=timezone.now() - timedelta(minutes=2))
    watch_database_for_long()
    assert sweep_deliveries() == 0
    deliverer()._disown()
    assert sweep_deliveries() == 1
    assert paid() == (0, 0)
    assert faults() == []


def test_another_keys_answer_is_taken_over_by_nobody(http, server, alice, key_of):
    ask(http, **{"x-stainless-retry-count": "0"})
    other = {"Authorization": f"Bearer {key_of(alice)}", "x-stainless-retry-count": "1"}
    ask(http, **other)
    assert Generation.objects.count() == 2


def test_a_process_that_ends_well_is_swept_at_once_and_those_long_gone_are_forgotten(http):
    gone = Deliverer()
    gone.expect()
    assert WebProcess.objects.filter(pk=gone.id).exists()
    gone.end()
    assert not WebProcess.objects.filter(pk=gone.id).exists()
    WebProcess.objects.create(pk=uuid4(), heartbeat_at=timezone.now() - timedelta(hours=1))
    watch_database_for_long()
    sweep_deliveries()
    assert not WebProcess.objects.filter(heartbeat_at__lt=timezone.now() - timedelta(minutes=1)).exists()


def test_a_thread_of_deliveries_that_ends_begins_anew(http):
    """Money hangs on it: without it, what was handed over would be given back."""
    deliverer()._never.set()
    deliverer()._woken.set()
    thread = deliverer()._loop._thread
    if thread is not None:
        thread.join(5)
    deliverer()._never.clear()
    assert ask(http).status_code == 200
    wait_until(lambda: not Delivery.objects.exists(), 2, "the delivery to be noted")
