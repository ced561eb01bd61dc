"""Retries: with an Idempotency-Key, or by the official client itself, get the same answer and are charged once."""

import json
import threading
import time
from datetime import timedelta
from uuid import UUID, uuid4

import httpx
import openai
import pytest
from django.db import connection, transaction

from billing import ledger
from billing.models import Hold
from inference.catalogue import DEMO_KEY
from inference.generations import client_requests
from inference.generations.endings import fail_generation, stop_generation
from inference.models import Generation, GenerationState
from tests.support.cast import at_once, fund
from tests.support.databases.redis_admin import admin
from tests.support.dropping_proxy import losing
from tests.support.openai_clients import price
from tests.support.stack import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

HELLO = [{"role": "user", "content": "Hello"}]
BODY = {"model": DEMO_KEY, "messages": HELLO, "max_tokens": 30}
STREAM = BODY | {"stream": True, "stream_options": {"include_usage": True}}


def post(http, body, key, **options):
    return http.post("/v1/chat/completions", json=body, headers={"Idempotency-Key": key}, **options)


def text_of(stream):
    """The text, the last reason and the usage of a stream on the wire."""
    events = [json.loads(line[6:]) for line in stream.splitlines() if line.startswith("data: {")]
    text = "".join(event["choices"][0]["delta"].get("content", "") for event in events if event["choices"])
    return text, events[-2]["choices"][0]["finish_reason"], events[-1]["usage"]


def test_a_retry_with_the_same_key_gets_the_same_body_and_is_charged_once(http, paid, faults):
    first = post(http, BODY, "order-1")
    http.post("/v1/chat/completions", json=BODY)  # another answer moves the balance meanwhile
    second = post(http, BODY, "order-1")
    assert first.status_code == second.status_code == 200
    assert first.content == second.content
    assert Generation.objects.count() == 2
    assert paid() == (2 * price(Generation.objects.first()), 0)
    assert faults() == []


def test_a_body_spelt_otherwise_is_the_same_request(http):
    first = post(http, BODY, "order-1")
    second = post(http, dict(reversed(BODY.items())), "order-1")
    assert first.content == second.content


def test_a_streamed_retry_is_replayed_from_what_was_stored(http, engine, paid, faults):
    engine.step_seconds = 0.02
    first = post(http, STREAM, "order-1").text
    admin().flushdb()  # hours later
    second = post(http, STREAM, "order-1").text
    assert text_of(first) == text_of(second)
    assert second.endswith("data: [DONE]\n\n")
    assert Generation.objects.count() == 1
    assert paid() == (price(Generation.objects.get()), 0)
    assert faults() == []


@pytest.mark.parametrize("change", [{"max_tokens": 29}, {"stream": True}, {"messages": [*HELLO, *HELLO]}])
def test_the_same_key_with_another_body_is_a_conflict(http, ai, change):
    post(http, BODY, "order-1")
    answer = post(http, BODY | change, "order-1")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "idempotency_conflict")
    with pytest.raises(openai.ConflictError):
        ai.chat.completions.create(**BODY | change, extra_headers={"Idempotency-Key": "order-1"})
    assert Generation.objects.count() == 1


def test_the_same_key_on_another_path_is_a_conflict(http):
    post(http, BODY, "order-1")
    body = {"model": DEMO_KEY, "prompt": "Hello"}
    assert http.post("/v1/completions", json=body, headers={"Idempotency-Key": "order-1"}).status_code == 409


def test_a_key_belongs_to_its_user(http, client_of, charlie):
    first = post(http, BODY, "order-1").json()
    other = client_of(charlie).chat.completions.create(**BODY, extra_headers={"Idempotency-Key": "order-1"})
    assert other.id != first["id"]


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_a_key_that_makes_no_sense_is_refused(http, key):
    answer = post(http, BODY, key)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "Idempotency-Key")


def test_a_retry_joins_the_answer_whose_first_connection_died(http, engine, paid, faults):
    engine.length, engine.step_seconds = 1000, 0.05
    with http.stream("POST", "/v1/chat/completions", json=STREAM, headers={"Idempotency-Key": "order-1"}) as answer:
        next(answer.iter_lines())
    time.sleep(0.2)
    text, reason, usage = text_of(post(http, STREAM, "order-1").text)
    generation = Generation.objects.get()
    assert (generation.state, generation.completion_tokens) == (GenerationState.COMPLETED, 30)
    assert (text, reason) == (generation.text, "length")
    assert usage["cost_microcredits"] == price(generation) == paid()[0]
    assert faults() == []


def test_a_plain_retry_joins_too(http, engine, paid, faults):
    engine.length, engine.step_seconds = 30, 0.05
    with pytest.raises(httpx.ReadTimeout):
        post(http, BODY, "order-1", timeout=0.3)
    answer = post(http, BODY, "order-1").json()
    assert answer["usage"]["completion_tokens"] == 30
    assert paid() == (price(Generation.objects.get()), 0)
    assert faults() == []


@pytest.mark.parametrize("body", [BODY, STREAM])
def test_ten_retries_at_the_same_moment_make_one_answer(http, engine, paid, faults, body):
    engine.step_seconds = 0.05
    key = str(uuid4())
    answers = at_once(10, lambda _n: post(http, body, key))
    assert {answer.status_code for answer in answers} == {200}
    if body is BODY:
        assert len({answer.content for answer in answers}) == 1
    else:
        assert len({str(text_of(answer.text)) for answer in answers}) == 1
    assert Generation.objects.count() == Hold.objects.count() == 1
    assert paid() == (price(Generation.objects.get()), 0)
    assert faults() == []


def test_after_a_failure_of_ours_the_same_key_asks_again(http, engine, paid, faults):
    engine.fails_at = 2
    assert post(http, BODY, "order-1").status_code == 500
    engine.fails_at = None
    answers = at_once(3, lambda _n: post(http, BODY, "order-1"))
    assert {answer.status_code for answer in answers} == {200}
    assert Generation.objects.filter(state=GenerationState.COMPLETED).count() == 1
    assert paid() == (price(Generation.objects.get(state=GenerationState.COMPLETED)), 0)
    assert faults() == []


def test_a_refused_request_leaves_its_key_free(http, client_of, bob, server):
    client, key = client_of(bob), {"Idempotency-Key": "order-1"}
    with pytest.raises(openai.RateLimitError):
        client.chat.completions.create(**BODY, extra_headers=key)
    fund(bob, 1_000_000)
    assert client.chat.completions.create(**BODY, extra_headers=key).usage.completion_tokens == 6


def test_the_answer_is_given_again_even_when_its_model_has_gone(http, catalogue):
    first = post(http, BODY, "order-1")
    catalogue.unavailable_reason = "Its weights are not on this machine."
    catalogue.save()
    assert post(http, BODY, "order-1").content == first.content


# The official client: its own retries carry a count and no key.


def test_the_official_clients_time_out_and_retries_are_charged_once(client_of, alice, engine, paid, faults):
    engine.length, engine.step_seconds = 30, 0.08  # 2.4 s
    answer = client_of(alice, timeout=1.0, max_retries=3).chat.completions.create(**BODY)
    generation = Generation.objects.get()
    assert answer.usage.completion_tokens == 30
    assert generation.state == GenerationState.COMPLETED
    assert paid() == (price(generation), 0)
    assert faults() == []


def test_a_client_that_stops_retrying_pays_for_what_was_produced(client_of, alice, engine, paid, faults):
    engine.length, engine.step_seconds = 1000, 0.05
    with pytest.raises(openai.APITimeoutError):
        client_of(alice, timeout=0.8, max_retries=1).chat.completions.create(**BODY | {"max_tokens": 400})
    wait_until(lambda: not Generation.objects.live().exists(), 8, "the end")
    generation = Generation.objects.get()
    assert generation.state == GenerationState.STOPPED
    assert paid() == (price(generation), 0)
    assert faults() == []


@pytest.mark.parametrize("waits", [{}, {"x-stainless-read-timeout": "600"}, {"x-stainless-timeout": "1"}])
def test_an_official_client_need_not_say_how_long_it_waits(http, engine, paid, faults, waits):
    """openai-node says nothing, or whole seconds; and a lost connection is no time-out, but is retried like one."""
    engine.length, engine.step_seconds = 30, 0.05  # 1.5 s
    for attempt in range(2):
        with pytest.raises(httpx.ReadTimeout):
            ask_as_attempt(http, attempt, more=waits, timeout=0.4)
        time.sleep(0.5 * 2**attempt)
    answer = ask_as_attempt(http, 2, more=waits)
    assert answer.json()["usage"]["completion_tokens"] == 30
    assert paid() == (price(Generation.objects.get()), 0)
    assert faults() == []


def test_an_official_client_that_leaves_a_plain_answer_for_good_is_waited_for_a_moment(http, engine, paid, faults):
    engine.length, engine.step_seconds = 1000, 0.05
    with pytest.raises(httpx.ReadTimeout):
        ask_as_attempt(http, 0, BODY | {"max_tokens": 400}, timeout=0.5)
    wait_until(lambda: not Generation.objects.live().exists(), 4, "the slot to be free")
    generation = Generation.objects.get()
    assert (generation.state, generation.client_attempt) == (GenerationState.STOPPED, None)
    assert paid() == (price(generation), 0)
    assert faults() == []


def waiting_for_a_lock():
    with connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM pg_locks WHERE NOT granted")
        return cursor.fetchone()[0]


@pytest.mark.parametrize("length", [10, 60], ids=["ended before it is given up", "still written then"])
def test_a_retry_that_came_before_the_first_attempt_was_begun_is_paid_alone(http, alice, engine, paid, faults, length):
    engine.length, engine.step_seconds = length, 0.05
    answers = []
    retry = threading.Thread(target=lambda: answers.append(ask_as_attempt(http, 1, BODY | {"max_tokens": 100})))
    with transaction.atomic():
        ledger.lock_wallet(user=alice)
        with pytest.raises(httpx.ReadTimeout):
            ask_as_attempt(http, 0, BODY | {"max_tokens": 100}, timeout=0.4)
        retry.start()
        wait_until(lambda: waiting_for_a_lock() == 2, 5, "both attempts to wait for the wallet")
    retry.join()
    answered = Generation.objects.get(pk=UUID(answers[0].json()["id"].removeprefix("chatcmpl-")))
    assert Generation.objects.count() == 2
    wait_until(lambda: paid() == (price(answered), 0), 8, "the first attempt to cost nothing")
    assert faults() == []


def test_who_leaves_a_begun_answer_pays_also_beside_a_later_attempt(http, alice, engine, paid, faults):
    body = BODY | {"max_tokens": 400}
    later = ask_as_attempt(http, 9, body).json()
    engine.length, engine.step_seconds = 1000, 0.05
    with pytest.raises(httpx.ReadTimeout):
        ask_as_attempt(http, 0, body, timeout=0.6)
    wait_until(lambda: not Generation.objects.live().exists(), 8, "it to be given up")
    left = Generation.objects.exclude(pk=UUID(later["id"].removeprefix("chatcmpl-"))).get()
    assert left.state == GenerationState.STOPPED
    assert paid() == (sum(map(price, Generation.objects.all())), 0)
    assert faults() == []


@pytest.mark.parametrize("when", ["whole", "head"])
@pytest.mark.parametrize("is_streamed", [False, True])
@pytest.mark.parametrize("step_seconds", [0.0, 0.2])
def test_an_answer_that_is_lost_on_its_way_is_given_again(
    server, client_of, alice, engine, paid, faults, when, is_streamed, step_seconds
):
    engine.step_seconds = step_seconds
    client = client_of(alice, max_retries=2)
    with losing(server.url, 1, when=when) as address:
        client = client.copy(base_url=f"{address}/v1")
        answer = client.chat.completions.create(**BODY, stream=is_streamed)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in answer) if is_streamed else answer
    generation = Generation.objects.get()
    assert (text if is_streamed else text.choices[0].message.content) == generation.text != ""
    assert paid() == (price(generation), 0)
    assert faults() == []


def ask_as_attempt(http, attempt, body=BODY, more=None, **options):
    headers = {"x-stainless-retry-count": str(attempt)} | (more or {})
    return http.post("/v1/chat/completions", json=body, headers=headers, **options)


def test_the_retry_after_the_web_process_died_takes_the_answer_over(http, alice, engine, paid, faults):
    """As the process leaves it: begun, awaited by attempt 0, and nobody there to give it up."""
    engine.step_seconds = 0.05
    begun = []
    thread = threading.Thread(target=lambda: begun.append(ask_as_attempt(http, 0)))
    thread.start()
    generation = wait_until(Generation.objects.first, 5, "the first attempt")
    second = ask_as_attempt(http, 1)
    thread.join()
    assert second.json()["id"] == f"chatcmpl-{generation.pk.hex}"
    assert Generation.objects.count() == 1
    assert paid() == (price(Generation.objects.get()), 0)
    assert faults() == []


def test_a_retry_after_a_refusal_begins_anew_though_the_same_was_asked_before(http, alice, settings):
    """Ten samples of one question are ten answers, also when some of the requests had to wait."""
    first = ask_as_attempt(http, 0).json()
    settings.MAX_LIVE_GENERATIONS = 0
    refused = ask_as_attempt(http, 0)
    assert (refused.status_code, refused.headers["x-should-retry"]) == (429, "true")
    settings.MAX_LIVE_GENERATIONS = 64
    later = ask_as_attempt(http, 1).json()
    assert later["id"] != first["id"]
    assert ask_as_attempt(http, 1).json()["id"] == first["id"]  # one refusal, one new answer


def test_strangers_leave_no_trace_in_redis(server):
    headers = {"x-stainless-retry-count": "0", "Authorization": "Bearer nobody"}
    assert httpx.post(f"{server.url}/v1/chat/completions", json=BODY, headers=headers).status_code == 401
    assert admin().keys("refused:*") == []


def test_a_retry_takes_what_nobody_was_given_before_what_was_given(http, alice, engine):
    engine.step_seconds = 0.1
    given = ask_as_attempt(http, 0).json()
    with pytest.raises(httpx.ReadTimeout):
        ask_as_attempt(http, 0, timeout=0.3)
    waiting = Generation.objects.live().get()
    Generation.objects.filter(pk=waiting.pk).update(created_at=waiting.created_at - timedelta(minutes=1))
    taken = ask_as_attempt(http, 1).json()
    assert taken["id"] == f"chatcmpl-{waiting.pk.hex}" != given["id"]


def test_the_answer_of_another_customer_is_never_taken_over(http, alice, charlie, client_of):
    client_of(charlie).chat.completions.create(**BODY)
    assert ask_as_attempt(http, 1).status_code == 200
    assert Generation.objects.count() == 2


def test_a_retry_takes_over_only_its_own_request(http, alice, engine, monkeypatch):
    engine.length, engine.step_seconds = 1000, 0.05
    monkeypatch.setattr(client_requests, "stop_generation", lambda **_options: None)
    thread = threading.Thread(target=lambda: ask_as_attempt(http, 0, BODY | {"max_tokens": 20}))
    thread.start()
    wait_until(Generation.objects.first, 5, "the first attempt")
    ask_as_attempt(http, 1, BODY | {"max_tokens": 3})
    ask_as_attempt(http, 2, BODY | {"max_tokens": 20})  # not the next attempt
    thread.join()
    assert Generation.objects.count() == 3


def test_of_two_retries_at_once_one_takes_the_answer_over(http, alice, engine, faults):
    engine.length, engine.step_seconds = 20, 0.1
    thread = threading.Thread(target=lambda: ask_as_attempt(http, 0))
    thread.start()
    wait_until(Generation.objects.first, 5, "the first attempt")
    at_once(2, lambda _n: ask_as_attempt(http, 1))
    thread.join()
    assert Generation.objects.count() == 2
    assert faults() == []


def test_a_failed_or_stopped_answer_is_not_taken_over(http, alice, engine):
    for end in (stop_generation, lambda generation: fail_generation(generation_id=generation.pk, error="x")):
        engine.length, engine.step_seconds = 1000, 0.05
        thread = threading.Thread(target=lambda: ask_as_attempt(http, 0))
        thread.start()
        generation = wait_until(lambda: Generation.objects.live().first(), 5, "the first attempt")
        end(generation=generation)
        thread.join()
        Generation.objects.filter(pk=generation.pk).update(client_attempt=0)  # had the process died
        engine.step_seconds = 0.0
        assert ask_as_attempt(http, 1).json()["id"] != f"chatcmpl-{generation.pk.hex}"
