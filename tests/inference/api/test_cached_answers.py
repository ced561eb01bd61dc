"""Deterministic requests over both APIs: answered from the cache, at its price, and saying so."""

import json
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

from billing.models import Hold
from inference.catalogue import DEMO_KEY
from inference.models import Generation
from tests.support.databases.queue import clear_queue, run_tasks
from tests.support.openai_clients import price
from tests.support.stack import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

HELLO = [{"role": "user", "content": "Tell me of a fox."}]
BODY = {"model": DEMO_KEY, "messages": HELLO, "max_tokens": 30, "temperature": 0}
URL = "/api/v1/generations"


@pytest.fixture(autouse=True)
def _empty_queue():
    clear_queue()
    yield
    clear_queue()


def cache_price(generation):
    return generation.prompt_tokens * 2 + generation.completion_tokens * 4


def ended():
    """Wait for the answer that is being generated."""
    wait_until(lambda: not Generation.objects.live().exists(), 10, "the answer")


def test_the_openai_client_gets_the_same_answer_at_the_cache_price(ai, paid, faults):
    first, second = (ai.chat.completions.create(**BODY) for _ in range(2))
    generation = Generation.objects.order_by("created_at")[0]
    assert second.choices[0].message.content == first.choices[0].message.content == generation.text
    assert (first.tally["from_cache"], second.tally["from_cache"]) == (False, True)
    assert (first.usage.cost_microcredits, second.usage.cost_microcredits) == (
        price(generation),
        price(generation) / 10,
    )
    assert second.usage.total_tokens == first.usage.total_tokens
    assert second.id != first.id
    assert paid() == (price(generation) + cache_price(generation), 0)
    assert faults() == []


def test_a_cached_answer_streams_whole_with_its_reason_and_usage(ai, http):
    ai.chat.completions.create(**BODY)
    options = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(ai.chat.completions.create(**BODY, **options))
    generation = Generation.objects.order_by("created_at").last()
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == generation.text
    assert (chunks[-2].choices[0].finish_reason, chunks[-2].tally["from_cache"]) == ("stop", True)
    assert chunks[-1].usage.cost_microcredits == cache_price(generation)


def test_a_text_completion_is_cached_too_and_apart_from_a_chat(ai):
    asked = {"model": DEMO_KEY, "prompt": "Once", "seed": 4}
    assert [ai.completions.create(**asked).tally["from_cache"] for _ in range(2)] == [False, True]


def test_off_and_a_request_that_is_not_deterministic_are_generated(ai):
    asked = [BODY, BODY | {"extra_body": {"cache": "off"}}, BODY | {"temperature": 0.8}, BODY | {"temperature": 0.8}]
    assert [ai.chat.completions.create(**body).tally["from_cache"] for body in asked] == [False] * 4


def test_another_customer_is_answered_from_what_is_public_alone(ai, client_of, charlie):
    others = client_of(charlie)
    public = BODY | {"extra_body": {"cache": "public"}}
    assert [client.chat.completions.create(**BODY).tally["from_cache"] for client in (ai, others)] == [False, False]
    assert [client.chat.completions.create(**public).tally["from_cache"] for client in (ai, others)] == [False, True]


@pytest.mark.parametrize(
    ("value", "code"), [("everybody", "invalid_value"), (True, "invalid_type"), (1, "invalid_type")]
)
def test_openais_clients_are_told_what_cache_may_be(ai, value, code):
    with pytest.raises(openai.BadRequestError) as raised:
        ai.chat.completions.create(**BODY, extra_body={"cache": value})
    assert (raised.value.code, raised.value.param) == (code, "cache")
    assert Hold.objects.count() == 0


def test_an_idempotency_key_repeats_the_cached_answer_for_nothing_more(http, paid):
    http.post("/v1/chat/completions", json=BODY)
    before = paid()
    answers = [
        http.post("/v1/chat/completions", json=BODY, headers={"Idempotency-Key": "order-1"}).content for _ in range(2)
    ]
    assert answers[0] == answers[1]
    assert paid()[0] - before[0] == cache_price(Generation.objects.order_by("created_at").last())


def test_ten_clients_at_once_are_generated_once_and_all_get_the_text(http, engine, paid, faults):
    engine.step_seconds = 0.3
    streamed = BODY | {"stream": True}
    with ThreadPoolExecutor(10) as pool:
        bodies = [pool.submit(http.post, "/v1/chat/completions", json=streamed if n % 2 else BODY) for n in range(10)]
        wait_until(lambda: Generation.objects.filter(state="completed").exists(), 20, "the leader to end")
        wait_until(lambda: run_tasks() or not Generation.objects.live().exists(), 20, "the followers to be seen to")
        texts = [text_of(body.result().text) for body in bodies]
    leader = Generation.objects.get(follows=None)
    assert texts == [leader.text] * 10
    assert paid() == (price(leader) + 9 * cache_price(leader), 0)
    assert faults() == []


def text_of(body):
    if body.startswith("{"):
        return json.loads(body)["choices"][0]["message"]["content"]
    events = [json.loads(line[6:]) for line in body.splitlines() if line.startswith("data: {")]
    return "".join(event["choices"][0]["delta"].get("content") or "" for event in events if event["choices"])


def test_over_rest_a_cached_answer_is_there_at_once_and_says_so(http, paid):
    first = http.post(URL, json=BODY).json()
    ended()
    second = http.post(URL, json=BODY)
    generation = Generation.objects.get(pk=first["id"])
    body = second.json()
    assert second.status_code == 201
    assert (body["state"], body["text"], body["is_from_cache"]) == ("completed", generation.text, True)
    assert (body["charged_microcredits"], body["is_limited_by_balance"]) == (cache_price(generation), False)
    assert not http.get(f"{URL}/{first['id']}").json()["is_from_cache"]
    receipt = http.get(f"/api/v1/receipts/{body['hold']}").json()
    assert (receipt["is_from_cache"], receipt["completion_microcredits_per_token"]) == (True, 4)
    events = http.get(f"{URL}/{body['id']}/events").text
    assert [line for line in events.splitlines() if line.startswith("event:")] == ["event: text", "event: done"]


def test_over_rest_cache_says_who_shares_it(http):
    for use, is_from_cache in [("public", False), ("private", False), ("public", True), ("off", False)]:
        asked = http.post(URL, json=BODY | {"cache": use}).json()
        ended()
        assert http.get(f"{URL}/{asked['id']}").json()["is_from_cache"] is is_from_cache, use


@pytest.mark.parametrize("value", ["everybody", True, None, ""])
def test_over_rest_another_value_of_cache_is_refused_by_name(http, value):
    answer = http.post(URL, json=BODY | {"cache": value})
    assert answer.status_code == 400
    assert list(answer.json()["errors"]) == ["cache"]
    assert Hold.objects.count() == 0


def test_a_conversation_is_written_anew_each_time(http):
    talk = http.post("/api/v1/conversations", json={"model": DEMO_KEY}).json()
    sent = {"text": "Hello", "temperature": 0, "seed": 1}
    assert http.post(f"/api/v1/conversations/{talk['id']}/messages", json=sent).status_code == 201
    ended()
    assert Generation.objects.get().cache_key == ""
