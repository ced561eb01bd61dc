"""The official OpenAI client against Tally: models, plain and streamed answers, what they say and cost."""

import json

import pytest
from django.conf import settings
from tokenizers import Tokenizer

from billing.ledger.caps import set_cap
from inference.catalogue import DEMO_KEY
from inference.models import CatalogueModel, Generation
from inference.prompting.conversation import Turn
from inference.prompting.transcript import write_transcript
from tests.support.cast import fund
from tests.support.openai_clients import price

pytestmark = pytest.mark.django_db(transaction=True)

HELLO = [{"role": "user", "content": "Tell me of a fox."}]


def test_models_are_listed_and_described(ai):
    [model] = ai.models.list().data
    assert (model.id, model.object, model.owned_by) == (DEMO_KEY, "model", "tally")
    assert (model.context_length, model.architecture["prompt_format"]) == (8192, "transcript")
    assert (model.pricing["prompt"], model.pricing["completion_microcredits"]) == ("0.0000002", 40)
    assert model.created == int(CatalogueModel.objects.get(key=DEMO_KEY).created_at.timestamp())
    assert ai.models.retrieve(DEMO_KEY) == model


def test_a_plain_answer_is_openais_json_with_what_it_cost(ai, http, paid, faults):
    answer = ai.chat.completions.create(model=DEMO_KEY, messages=HELLO)
    generation = Generation.objects.get()
    assert answer.id == f"chatcmpl-{generation.pk.hex}"
    assert (answer.object, answer.model) == ("chat.completion", DEMO_KEY)
    [choice] = answer.choices
    assert (choice.index, choice.finish_reason, choice.logprobs) == (0, "stop", None)
    assert (choice.message.role, choice.message.refusal) == ("assistant", None)
    assert choice.message.content == generation.text == "The quick brown fox jumps over"
    assert answer.usage.completion_tokens == 6
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 6
    assert answer.usage.cost_microcredits == price(generation)
    assert not hasattr(answer.usage, "balance_microcredits")  # clients add the members of usage up
    assert answer.tally == {
        "generation": str(generation.pk),
        "state": "completed",
        "balance_microcredits": 100_000_000 - price(generation),
        "limited_by": None,
        "from_cache": False,
    }
    assert paid() == (price(generation), 0)
    assert faults() == []


def test_the_keys_of_a_plain_answer_are_exactly_those_of_openai_and_ours(http):
    answer = http.post("/v1/chat/completions", json={"model": DEMO_KEY, "messages": HELLO})
    body = answer.json()
    ours = {"tally"}
    assert set(body) - ours == {"id", "object", "created", "model", "choices", "usage"}
    assert set(body["choices"][0]) == {"index", "message", "logprobs", "finish_reason"}
    assert answer.headers["X-Request-Id"]
    assert int(answer.headers["X-RateLimit-Remaining"]) < int(answer.headers["X-RateLimit-Limit"])
    assert int(answer.headers["X-RateLimit-Reset"]) <= 60


def test_a_stream_begins_with_the_role_grows_and_ends_with_its_reason_and_usage(ai, engine, paid, faults):
    engine.step_seconds = 0.05
    options = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(ai.chat.completions.create(model=DEMO_KEY, messages=HELLO, **options))
    generation = Generation.objects.get()
    assert {(chunk.id, chunk.object) for chunk in chunks} == {
        (f"chatcmpl-{generation.pk.hex}", "chat.completion.chunk")
    }
    assert chunks[0].choices[0].delta.role == "assistant"
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks[:-1]]
    assert "".join(texts) == generation.text
    assert len([text for text in texts if text]) >= 3
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 2) + ["stop"]
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].choices == []
    assert chunks[-1].usage.cost_microcredits == price(generation) == paid()[0]
    assert faults() == []


def test_a_stream_on_the_wire_is_data_lines_and_ends_with_done(http):
    body = {"model": DEMO_KEY, "messages": HELLO, "stream": True}
    answer = http.post("/v1/chat/completions", json=body)
    assert answer.headers["Content-Type"] == "text/event-stream"
    assert answer.headers["X-Accel-Buffering"] == "no"
    events = [line for line in answer.text.split("\n\n") if not line.startswith(":")]
    assert all(line.startswith("data: {") for line in events[:-2])
    assert events[-2:] == ["data: [DONE]", ""]
    assert '"usage"' not in answer.text  # nobody asked for it


def test_a_completion_goes_on_from_a_raw_prompt_plain_and_streamed(ai, http):
    answer = ai.completions.create(model=DEMO_KEY, prompt="Once upon a time ")
    generation = Generation.objects.get()
    assert (answer.id, answer.object) == (f"cmpl-{generation.pk.hex}", "text_completion")
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == (generation.text, "stop")
    assert answer.usage.prompt_tokens == generation.prompt_tokens
    chunks = list(ai.completions.create(model=DEMO_KEY, prompt="Once upon a time ", stream=True))
    assert {chunk.object for chunk in chunks} == {"text_completion"}
    assert "".join(chunk.choices[0].text for chunk in chunks) == generation.text
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_a_completion_without_a_length_has_16_tokens_as_openai_documents(ai, engine):
    engine.length = 1000
    answer = ai.completions.create(model=DEMO_KEY, prompt="Once")
    assert (answer.usage.completion_tokens, answer.choices[0].finish_reason) == (16, "length")


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_the_length_is_kept_and_named_as_the_reason(ai, engine, name):
    engine.length = 1000
    answer = ai.chat.completions.create(model=DEMO_KEY, messages=HELLO, **{name: 4})
    assert (answer.usage.completion_tokens, answer.choices[0].finish_reason) == (4, "length")
    assert answer.tally["limited_by"] is None


def test_stop_strings_cut_the_text(ai, engine):
    engine.length = 1000
    answer = ai.chat.completions.create(model=DEMO_KEY, messages=HELLO, stop=["fox jumps", "nothing"])
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("The quick brown", "stop")
    answer = ai.chat.completions.create(model=DEMO_KEY, messages=HELLO, stop="brown")
    assert answer.choices[0].message.content == "The quick"


def test_an_answer_that_a_monthly_cap_cut_short_says_so(client_of, alice, key_of, engine, faults):
    """Of the customer, or of the key: whichever leaves less."""
    engine.length = 1000
    set_cap(user=alice, cap_microcredits=4_000)
    answer = client_of(alice).chat.completions.create(model=DEMO_KEY, messages=HELLO)
    assert (answer.choices[0].finish_reason, answer.tally["limited_by"]) == ("length", "monthly_cap")
    set_cap(user=alice, cap_microcredits=None)
    ai = client_of(alice, api_key=key_of(alice, monthly_cap_microcredits=4_000))
    *_text, last = ai.chat.completions.create(model=DEMO_KEY, messages=HELLO, stream=True)
    assert last.tally["limited_by"] == "key_cap"
    assert faults() == []


def test_an_answer_that_the_balance_cut_short_says_so(client_of, bob, engine, faults):
    engine.length = 1000
    fund(bob, 4_000)
    answer = client_of(bob).chat.completions.create(model=DEMO_KEY, messages=HELLO)
    assert answer.choices[0].finish_reason == "length"
    assert answer.tally["limited_by"] == "balance"
    assert 16 <= answer.usage.completion_tokens < 50
    assert faults() == []


def test_parameters_reach_the_engine_and_harmless_ones_are_ignored(ai):
    ai.chat.completions.create(
        model=DEMO_KEY,
        messages=HELLO,
        temperature=0.3,
        top_p=0.5,
        seed=-7,
        user="customer 12",
        n=1,
        presence_penalty=0.5,
        frequency_penalty=-1.5,
        logprobs=False,
        response_format={"type": "text"},
        tool_choice="none",
        metadata={"a": "b"},
        service_tier="auto",
        store=False,
        extra_body={"top_k": 5, "min_p": 0.1, "repetition_penalty": 1.3, "what_is_this": [1]},
    )
    generation = Generation.objects.get()
    assert (generation.temperature, generation.top_p, generation.top_k) == (0.3, 0.5, 5)
    assert (generation.min_p, generation.repetition_penalty) == (0.1, 1.3)
    assert (generation.presence_penalty, generation.frequency_penalty) == (0.5, -1.5)
    assert (generation.seed, generation.end_user) == (-7, "customer 12")


def test_system_text_is_part_of_the_introduction_or_leads_the_users_turn(ai):
    tokenizer = Tokenizer.from_file(str(settings.MODEL_DIR / DEMO_KEY / "tokenizer.json"))
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "text", "text": "there"}]},
        {"role": "assistant", "content": "Hello!"},
        {"role": "developer", "content": "Now rhyme."},
        {"role": "user", "content": "Go on"},
    ]
    answer = ai.chat.completions.create(model=DEMO_KEY, messages=messages)
    turns = [Turn("user", "Hi\nthere"), Turn("assistant", "Hello!"), Turn("user", "Now rhyme.\n\nGo on")]
    [text] = [part.text for part in write_transcript("Be brief.", turns)]
    assert answer.usage.prompt_tokens == len(tokenizer.encode(text).ids)


def test_control_tokens_in_a_prompt_are_text(ai):
    answer = ai.completions.create(model=DEMO_KEY, prompt="<bos><start_of_turn>")
    assert answer.usage.prompt_tokens > 3  # spelled out, not two control tokens


def test_an_answer_in_many_scripts_arrives_whole(http, engine, monkeypatch):
    monkeypatch.setattr("inference.engine.fake.WORDS", ["naïve", "日本語", "\U0001f98a", "a\u2028b", '"\\'])
    engine.length = 5
    body = {"model": DEMO_KEY, "messages": HELLO}
    plain = http.post("/v1/chat/completions", json=body).json()["choices"][0]["message"]["content"]
    assert plain == 'naïve 日本語 \U0001f98a a\u2028b "\\'
    stream = http.post("/v1/chat/completions", json=body | {"stream": True}).text
    events = [json.loads(line.removeprefix("data: ")) for line in stream.split("\n\n") if line.startswith("data: {")]
    assert "".join(event["choices"][0]["delta"].get("content", "") for event in events) == plain
