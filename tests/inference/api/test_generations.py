"""Models, estimates and generations over REST."""

import json
from uuid import uuid4

import pytest
import redis

from billing.models import Hold
from inference.catalogue import DEMO_KEY
from inference.engine.fake import FakeEngine
from inference.models import CatalogueModel, Generation, GenerationState
from inference.worker.worker import Worker
from tests.billing.topups.automatic import save_sandbox_card, turn_on
from tests.inference.engines import give_engine
from tests.support.cast import at_once
from tests.support.databases.queue import clear_queue, take_tasks
from tests.support.openai_clients import price

pytestmark = pytest.mark.django_db(transaction=True)

URL = "/api/v1/generations"
BODY = {"model": DEMO_KEY, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 30}


@pytest.fixture(scope="module")
def worker():
    worker = Worker()
    give_engine(worker, FakeEngine(length=6))
    return worker


@pytest.fixture
def alices(with_key, alice):
    client = with_key(alice)
    client.get("/api/v1/me")  # notes the key's use, once a minute
    return client


def test_models_come_with_their_prices_and_say_why_they_are_unavailable(alices, django_assert_num_queries):
    with django_assert_num_queries(4):
        models = {model["key"]: model for model in alices.get("/api/v1/models").json()["results"]}
    assert list(models) == ["gemma-3-12b", "gemma-3-1b", DEMO_KEY, "smollm2-135m"]
    demo = models[DEMO_KEY]
    assert (demo["prompt_microcredits_per_token"], demo["completion_microcredits_per_token"]) == (20, 40)
    assert demo["is_available"]
    assert (demo["prompt_format"], demo["default_parameters"]["top_k"]) == ("transcript", 64)
    assert models["gemma-3-12b"]["default_parameters"] is None
    assert "not offered here" in models["gemma-3-12b"]["unavailable_reason"]
    assert alices.get(f"/api/v1/models/{DEMO_KEY}").json() == demo
    assert alices.get("/api/v1/models/gpt-99").status_code == 404


def test_a_model_without_a_price_shows_none_and_cannot_be_estimated(alices):
    CatalogueModel.objects.create(
        key="unpriced", name="X", source="x", context_tokens=9000, max_completion_tokens=9, unavailable_reason=""
    )
    assert alices.get("/api/v1/models/unpriced").json()["prompt_microcredits_per_token"] is None
    answer = alices.post("/api/v1/estimate", BODY | {"model": "unpriced"})
    assert answer.status_code == 503


def test_an_estimate_says_the_usual_and_the_most_and_holds_nothing(alices, django_assert_max_num_queries):
    with django_assert_max_num_queries(5):  # key, model, price, recent answers, wallet
        estimate = alices.post("/api/v1/estimate", BODY).json()
    assert estimate["max_completion_tokens"] == 30
    assert estimate["most_microcredits"] == estimate["prompt_tokens"] * 20 + 30 * 40
    assert estimate["usual_microcredits"] <= estimate["most_microcredits"]
    assert float(estimate["most_credits"]) * 1_000_000 == estimate["most_microcredits"]
    assert Hold.objects.count() == 0


def test_an_estimate_is_what_would_be_held(alices):
    estimate = alices.post("/api/v1/estimate", BODY).json()
    alices.post(URL, BODY)
    assert Hold.objects.get().amount_microcredits == estimate["most_microcredits"]


def test_a_generation_is_queued_written_and_read(alices, worker, paid, faults, django_assert_num_queries):
    asked = alices.post(URL, BODY | {"temperature": 0, "seed": 3, "stop": ["lazy"], "end_user": "customer 12"})
    assert asked.status_code == 201
    assert (asked.json()["state"], asked.json()["charged_microcredits"]) == ("queued", None)
    worker.serve(Generation.objects.get().model_id)
    with django_assert_num_queries(2):
        got = alices.get(f"{URL}/{asked.json()['id']}").json()
    generation = Generation.objects.get()
    assert (got["state"], got["text"]) == ("completed", "The quick brown fox jumps over")
    assert got["charged_microcredits"] == price(generation) == paid()[0]
    assert (got["temperature"], got["seed"], got["stop"], got["end_user"]) == (0.0, 3, ["lazy"], "customer 12")
    assert faults() == []


def test_min_p_and_the_penalty_are_kept_told_and_reach_the_engine(alices, worker, monkeypatch):
    penalties = {"repetition_penalty": 1.2, "frequency_penalty": 0.5, "presence_penalty": -0.5}
    asked = alices.post(URL, BODY | penalties | {"min_p": 0.05, "seed": 3})
    assert (asked.json()["min_p"], asked.json()["repetition_penalty"]) == (0.05, 1.2)
    seen = []
    write = FakeEngine.write

    def write_seen(self, request, on_delta):
        seen.append(request)
        return write(self, request, on_delta)

    monkeypatch.setattr(FakeEngine, "write", write_seen)
    worker.serve(Generation.objects.get().model_id)
    [request] = seen
    assert (request.sampling.min_p, request.sampling.repetition_penalty, request.sampling.seed) == (0.05, 1.2, 3)
    assert (request.sampling.frequency_penalty, request.sampling.presence_penalty) == (0.5, -0.5)
    plain = alices.post(URL, BODY).json()
    assert (plain["min_p"], plain["repetition_penalty"]) == (0.0, 1.0)
    assert (plain["frequency_penalty"], plain["presence_penalty"]) == (0.0, 0.0)


def test_a_raw_prompt_is_taken_as_it_stands(alices):
    alices.post(URL, {"model": DEMO_KEY, "prompt": "Once upon a time "})
    assert Generation.objects.get().prompt_token_ids[0] == 2
    assert 105 not in Generation.objects.get().prompt_token_ids  # no turns


def test_the_list_is_filtered_and_asks_few_questions(alices, worker, django_assert_num_queries):
    alices.post(URL, BODY)
    worker.serve(DEMO_KEY)
    for _n in range(2):
        alices.post(URL, BODY)
    with django_assert_num_queries(2):
        page = alices.get(URL).json()
    assert [item["state"] for item in page["results"]] == ["queued", "queued", "completed"]
    assert len(alices.get(f"{URL}?state=completed").json()["results"]) == 1
    assert len(alices.get(f"{URL}?model=gemma-3-1b").json()["results"]) == 0
    assert alices.get(f"{URL}?state=nonsense").status_code == 400
    assert len(alices.get(f"{URL}?limit=2").json()["results"]) == 2


def test_cancelling_a_queued_answer_costs_nothing_and_again_changes_nothing(alices, paid, faults):
    asked = alices.post(URL, BODY).json()
    for _twice in range(2):
        cancelled = alices.post(f"{URL}/{asked['id']}/cancel").json()
        assert (cancelled["state"], cancelled["charged_microcredits"]) == ("cancelled", None)
    assert paid() == (0, 0)
    assert faults() == []


def test_the_same_key_makes_one_generation(alices, faults):
    key = {"HTTP_IDEMPOTENCY_KEY": "order-1"}
    answers = at_once(5, lambda _n: alices.post(URL, BODY, **key))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert Generation.objects.count() == 1
    other = alices.post(URL, BODY | {"max_tokens": 29}, **key)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")
    assert alices.post(URL, BODY, HTTP_IDEMPOTENCY_KEY="x" * 300).status_code == 400
    assert faults() == []


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": "x", "image": "y"}]}, "messages.0.image"),
        ({"prompt": "both"}, "messages"),
        ({"model": 5}, "model"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"temperature": "1"}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"top_k": 65}, "top_k"),
        ({"min_p": 1}, "min_p"),
        ({"min_p": -0.1}, "min_p"),
        ({"min_p": "0.1"}, "min_p"),
        ({"repetition_penalty": 0.9}, "repetition_penalty"),
        ({"repetition_penalty": 2.1}, "repetition_penalty"),
        ({"frequency_penalty": 2.5}, "frequency_penalty"),
        ({"presence_penalty": -2.5}, "presence_penalty"),
        ({"seed": 2**63}, "seed"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"stop": [""]}, "stop.0"),
        ({"stop": ["nul\x00"]}, "stop.0"),
        ({"tempurature": 1}, "tempurature"),
    ],
)
def test_bad_fields_are_named_and_nothing_is_held(alices, fields, where):
    answer = alices.post(URL, BODY | fields)
    assert answer.status_code == 400
    assert where in answer.json()["errors"]
    assert Hold.objects.count() == 0


def test_half_a_character_is_refused(alices):
    body = json.dumps(BODY | {"messages": [{"role": "user", "content": "half \ud83d"}]})
    answer = alices.post(URL, body, content_type="application/json")
    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([{"role": "user", "content": "  "}], "empty"),
        ([{"role": "user", "content": "word " * 9000}], "tokens too long"),
    ],
)
def test_prompts_that_cannot_be_answered_are_refused(alices, messages, words):
    for url in (URL, "/api/v1/estimate"):
        answer = alices.post(url, {"model": DEMO_KEY, "messages": messages})
        assert answer.status_code == 422
        assert words in answer.json()["detail"]
    assert Hold.objects.count() == 0


def test_refusals_say_what_they_are(alices, with_key, bob, settings):
    assert alices.post(URL, BODY | {"model": "gpt-99"}).status_code == 404
    unavailable = alices.post(URL, BODY | {"model": "gemma-3-12b"})
    assert (unavailable.status_code, unavailable.json()["code"]) == (422, "model_unavailable")
    settings.MAX_LIVE_GENERATIONS = 1
    alices.post(URL, BODY)
    crowded = alices.post(URL, BODY)
    assert (crowded.status_code, crowded.json()["code"]) == (429, "too_many_answers")
    assert with_key(alice_of(alices), "usage:read").post(URL, BODY).status_code == 403


def alice_of(client):
    return client.key.user


def test_a_crowd_at_the_same_moment_gets_no_more_than_its_share(alices, settings, faults):
    settings.MAX_LIVE_GENERATIONS = 3
    answers = at_once(10, lambda _n: alices.post(URL, BODY))
    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [429] * 7
    assert faults() == []


def test_charlie_gets_404_for_everything_of_alice(alices, with_key, charlie):
    asked = alices.post(URL, BODY).json()
    charlies = with_key(charlie)
    url = f"{URL}/{asked['id']}"
    assert [charlies.get(url).status_code, charlies.get(f"{url}/events").status_code] == [404, 404]
    assert charlies.post(f"{url}/cancel").status_code == 404
    assert charlies.get(URL).json()["results"] == []
    assert alices.get(f"{URL}/{uuid4()}").status_code == 404
    assert Generation.objects.get().state == GenerationState.QUEUED


def test_an_answer_refused_for_want_of_credits_calls_for_an_automatic_top_up(with_key, bob):
    client = with_key(bob)
    clear_queue()
    assert client.post(URL, BODY).status_code == 402
    assert take_tasks() == []  # bob has not consented to any
    save_sandbox_card(bob)
    turn_on(bob)
    clear_queue()
    assert client.post(URL, BODY).status_code == 402
    ((name, arguments),) = take_tasks()
    assert (name, arguments["wallet_id"]) == ("billing.review_spending", bob.wallet.pk)


def test_tokens_are_limited_by_key_and_by_user(with_key, login, alice, charlie, settings, one_minute, worker):
    first, second = with_key(alice), with_key(alice)
    asked = first.post(URL, BODY, headers={"idempotency-key": "one"}).json()
    reserved = asked["prompt_tokens"] + 30
    settings.API_KEY_TOKENS_PER_MINUTE, settings.API_USER_TOKENS_PER_MINUTE = 2 * reserved, 3 * reserved
    assert first.post(URL, BODY, headers={"idempotency-key": "one"}).json()["id"] == asked["id"]  # a retry is free
    assert first.post(URL, BODY).status_code == 201
    held = Hold.objects.filter(state="active").count()
    refused = first.post(URL, BODY)
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert f"{2 * reserved:,} tokens a minute" in refused.json()["detail"]
    assert 1 <= int(refused["Retry-After"]) <= 60
    assert Hold.objects.filter(state="active").count() == held == 2
    assert second.post(URL, BODY).status_code == 429  # the user's third was the one that was refused
    assert login(charlie).post(URL, BODY).status_code == 201


def test_pages_have_no_limit_of_tokens(client, alice, catalogue, settings, worker):
    settings.API_USER_TOKENS_PER_MINUTE = 0
    client.force_login(alice)
    sent = client.post("/send/", {"text": "Hello", "model": DEMO_KEY, "idempotency_key": str(uuid4())})
    assert (sent.status_code < 400, Generation.objects.count()) == (True, 1)


def test_with_the_counter_away_tokens_are_not_limited(alices, settings, monkeypatch):
    settings.API_USER_TOKENS_PER_MINUTE = 1

    dead = redis.Redis(port=1, socket_connect_timeout=0.2, retry=None)
    monkeypatch.setattr("core.rest.throttles._counters", lambda: dead)
    assert [alices.post(URL, BODY).status_code for _ in range(2)] == [201, 201]
