"""Log probabilities over /v1: as OpenAI writes them, plain, streamed, and whenever the answer is read again."""

import json
import math

import pytest
from django.apps import apps
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from accounts.data_export import SECTIONS, _read_batch
from billing.closing import close_account
from inference.catalogue import DEMO_KEY
from inference.engine.fake import FakeEngine
from inference.models import Generation
from inference.worker.process import current_worker
from tests.inference.engines import give_engine
from tests.support.databases.redis_admin import admin

pytestmark = pytest.mark.django_db(transaction=True)

HELLO = [{"role": "user", "content": "Tell me of a fox."}]
CHAT = {"model": DEMO_KEY, "messages": HELLO, "logprobs": True, "top_logprobs": 3}
TEXT = {"model": DEMO_KEY, "prompt": "Once upon a time", "logprobs": 2}
WORDS = ["The ", "quick ", "brown ", "fox ", "jumps ", "over "]


def kept_rows():
    return apps.get_model("inference", "AnswerLogprobs").objects.all()


def events_of(stream):
    return [json.loads(line[6:]) for line in stream.splitlines() if line.startswith("data: {")]


def told(events):
    """What the chunks of a stream say, as a plain answer has it."""
    chunks = [ChatCompletionChunk.model_validate(event, strict=True) for event in events]
    assert [chunk.choices[0].logprobs for chunk in chunks if not chunk.choices[0].delta.content] == [None, None]
    entries = [chunk.choices[0].logprobs.content for chunk in chunks if chunk.choices[0].delta.content]
    texts = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices[0].delta.content]
    return texts, entries


def test_a_plain_answer_has_openais_log_probabilities(http, faults):
    body = http.post("/v1/chat/completions", json=CHAT).json()
    logprobs = ChatCompletion.model_validate(body, strict=True).choices[0].logprobs
    assert (logprobs.refusal, [entry.token for entry in logprobs.content]) == (None, WORDS)
    first = logprobs.content[0]
    assert (bytes(first.bytes), first.logprob) == (b"The ", pytest.approx(math.log(0.5), abs=1e-6))
    assert [each.token for each in first.top_logprobs] == ["The ", "quick ", "brown "]
    assert [each.logprob for each in first.top_logprobs] == pytest.approx(
        [math.log(share) for share in (0.5, 0.25, 0.125)], abs=1e-6
    )
    assert set(body["choices"][0]["logprobs"]["content"][0]) == {"token", "logprob", "bytes", "top_logprobs"}
    assert faults() == []


def test_the_official_client_reads_them_plain_and_streamed(ai, engine):
    engine.step_seconds = 0.05
    asked = {"model": DEMO_KEY, "messages": HELLO, "logprobs": True}
    content = ai.chat.completions.create(**asked).choices[0].logprobs.content
    assert [(entry.token, entry.top_logprobs) for entry in content] == [(word, []) for word in WORDS]
    streamed = [
        entry
        for chunk in ai.chat.completions.create(**asked, stream=True)
        for entry in (chunk.choices[0].logprobs.content if chunk.choices[0].logprobs else [])
    ]
    assert streamed == content
    text = ai.completions.create(model=DEMO_KEY, prompt="Once", logprobs=1).choices[0].logprobs
    assert text.tokens == WORDS


def test_each_chunk_of_a_stream_has_those_of_its_text(http, engine):
    engine.step_seconds = 0.1
    texts, entries = told(events_of(http.post("/v1/chat/completions", json=CHAT | {"stream": True}).text))
    assert len(texts) >= 3
    for text, content in zip(texts, entries, strict=True):
        # A word's blank is shown with the next word; that of the last one is left out.
        assert "".join(entry.token for entry in content).strip() == text.strip()
    assert [entry.token for content in entries for entry in content] == WORDS


def test_nothing_is_told_of_what_a_stop_string_cuts(http, engine):
    engine.length = 1000
    for stop, words in (("fox jumps", WORDS[:3]), ("x jum", WORDS[:4])):
        body = http.post("/v1/chat/completions", json=CHAT | {"stop": stop}).json()
        content = body["choices"][0]["logprobs"]["content"]
        assert [entry["token"] for entry in content] == words
        streamed = http.post("/v1/chat/completions", json=CHAT | {"stop": stop, "stream": True}).text
        assert [entry.model_dump() for each in told(events_of(streamed))[1] for entry in each] == content


def test_a_completion_has_the_legacy_shape_plain_and_streamed(http, engine):
    engine.step_seconds = 0.1
    body = http.post("/v1/completions", json=TEXT).json()
    Completion.model_validate(body, strict=True)
    logprobs = body["choices"][0]["logprobs"]
    assert logprobs["tokens"] == WORDS
    assert logprobs["text_offset"] == [0, 4, 10, 16, 20, 26]
    assert logprobs["token_logprobs"] == [pytest.approx(math.log(0.5), abs=1e-6)] * 6
    assert [set(each) for each in logprobs["top_logprobs"][:2]] == [{"The ", "quick "}, {"quick ", "brown "}]
    events = events_of(http.post("/v1/completions", json=TEXT | {"stream": True}).text)
    chunks = [event["choices"][0]["logprobs"] for event in events if event["choices"][0]["logprobs"]]
    assert len(chunks) >= 3
    assert {name: [each for chunk in chunks for each in chunk[name]] for name in logprobs} == logprobs
    chosen_alone = http.post("/v1/completions", json=TEXT | {"logprobs": 0}).json()["choices"][0]["logprobs"]
    assert [list(each) for each in chosen_alone["top_logprobs"]] == [[word] for word in WORDS]


def test_whoever_reads_the_answer_again_has_the_same(http, engine):
    headers = {"Idempotency-Key": "order-1"}
    first = http.post("/v1/chat/completions", json=CHAT, headers=headers)
    admin().flushdb()  # hours later
    assert http.post("/v1/chat/completions", json=CHAT, headers=headers).content == first.content
    stream = CHAT | {"stream": True}
    headers = {"Idempotency-Key": "order-2"}
    engine.step_seconds = 0.05
    before = told(events_of(http.post("/v1/chat/completions", json=stream, headers=headers).text))
    admin().flushdb()
    after = told(events_of(http.post("/v1/chat/completions", json=stream, headers=headers).text))
    assert ["".join(before[0])] == after[0]
    assert [entry for each in before[1] for entry in each] == after[1][0]
    again = {"x-stainless-retry-count": "1"}
    asked = http.post("/v1/chat/completions", json=CHAT, headers={"x-stainless-retry-count": "0"})
    assert http.post("/v1/chat/completions", json=CHAT, headers=again).json()["choices"] == asked.json()["choices"]


def test_the_cache_neither_gives_nor_gets_them(http):
    asked = CHAT | {"temperature": 0, "max_tokens": 30}
    without = {name: value for name, value in asked.items() if "logprobs" not in name}
    bodies = [http.post("/v1/chat/completions", json=body).json() for body in (without, asked, asked, without)]
    assert [body["tally"]["from_cache"] for body in bodies] == [False, False, False, True]
    assert [body["choices"][0]["logprobs"] is None for body in bodies] == [True, False, False, True]


def test_an_answer_of_a_worker_that_knows_none_is_one_without(http):
    """During a deployment; they are also gone where they were erased."""

    class OldEngine(FakeEngine):
        def deltas(self, request):
            from dataclasses import replace

            return super().deltas(replace(request, top_logprobs=None))

    give_engine(current_worker(), OldEngine(length=6))
    key = {"Idempotency-Key": "old"}
    assert http.post("/v1/chat/completions", json=CHAT, headers=key).json()["choices"][0]["message"]["content"]
    kept_rows().delete()
    for stream in (False, True):
        key = {"Idempotency-Key": f"old-{stream}"}
        http.post("/v1/chat/completions", json=CHAT | {"stream": stream}, headers=key)
        kept_rows().delete()
        answer = http.post("/v1/chat/completions", json=CHAT | {"stream": stream}, headers=key)
        events = events_of(answer.text) if stream else [answer.json()]
        assert [event["choices"][0]["logprobs"] for event in events] == [None] * len(events)


def test_they_are_exported_with_the_answer_and_erased_with_it(http, alice):
    http.post("/v1/chat/completions", json=CHAT)
    http.post("/v1/chat/completions", json={"model": DEMO_KEY, "messages": HELLO})
    kept = kept_rows().get()
    assert Generation.objects.count() == 2
    [row] = _read_batch(SECTIONS["logprobs"], alice, None)
    assert (row["pk"], row["tokens"]) == (kept.pk, kept.tokens)
    close_account(user=alice, forfeits_microcredits=alice.wallet.__class__.objects.get(user=alice).balance_microcredits)
    assert not kept_rows().exists()


@pytest.mark.parametrize("top", [None, 0])
def test_top_logprobs_of_nothing_need_no_logprobs(http, top):
    body = http.post("/v1/chat/completions", json=CHAT | {"logprobs": None, "top_logprobs": top}).json()
    assert body["choices"][0]["logprobs"] is None


def test_model_cards_name_them(ai):
    assert {"logprobs", "top_logprobs"} <= set(ai.models.retrieve(DEMO_KEY).supported_parameters)


def test_the_most_that_can_be_asked_for_is_openais(http):
    body = http.post("/v1/chat/completions", json=CHAT | {"top_logprobs": 20}).json()
    assert len(body["choices"][0]["logprobs"]["content"][0]["top_logprobs"]) == 12  # the words that there are
    assert Generation.objects.get().top_logprobs == 20
