"""The official OpenAI client on the whole stack, with the real Gemma 3, real processes and real connections."""

import threading
import time
from typing import Any
from uuid import uuid4

import httpx
import openai
import pytest

from tests.e2e.asking import COMPLETION_PRICE, LONG, PROMPT_PRICE, STORY_TELLER
from tests.support.stack import wait_until

pytestmark = pytest.mark.e2e

MODEL = STORY_TELLER
STORY: Any = [{"role": "user", "content": LONG}]


@pytest.fixture
def ai(openai_client):
    openai_client.completions.create(model=MODEL, prompt="Warm", max_tokens=1)  # loads the model, once
    return openai_client


def balance(stack):
    return stack.wallet(stack.runtime["customer"]["email"])


def last_generation(stack):
    """(state, prompt tokens, completion tokens, text) of the latest."""
    return stack.query(
        "SELECT state, prompt_tokens, completion_tokens, text FROM inference_generation"
        " ORDER BY created_at DESC LIMIT 1"
    )[0]


def cost(prompt_tokens, completion_tokens):
    return prompt_tokens * PROMPT_PRICE + completion_tokens * COMPLETION_PRICE


def test_a_plain_and_a_streamed_answer_are_paid_to_the_microcredit(ai, stack):
    assert [model.id for model in ai.models.list()] == ["gemma-3-270m", MODEL]
    before, _held = balance(stack)
    plain = ai.chat.completions.create(model=MODEL, messages=STORY, max_tokens=20)
    assert plain.usage.cost_microcredits == cost(plain.usage.prompt_tokens, plain.usage.completion_tokens)
    options = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(ai.chat.completions.create(model=MODEL, messages=STORY, max_tokens=24, **options))
    texts = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert len(texts) >= 5
    state, prompt_tokens, completion_tokens, text = last_generation(stack)
    assert (state, "".join(texts)) == ("completed", text)
    assert chunks[-1].usage.cost_microcredits == cost(prompt_tokens, completion_tokens)
    spent = plain.usage.cost_microcredits + chunks[-1].usage.cost_microcredits
    assert balance(stack) == (before - spent, 0)
    stack.verify_ledger()


def test_the_same_seed_draws_the_same_and_another_does_not(ai):
    def draw(seed):
        options = {"temperature": 1.2, "max_tokens": 12, "seed": seed}
        return ai.completions.create(model=MODEL, prompt="Once upon a time", **options).choices[0].text

    first, again, other = draw(7), draw(7), draw(8)
    assert first == again
    assert first != other


def test_a_stop_string_cuts_the_text(ai):
    options = {"temperature": 0, "max_tokens": 12}
    whole = ai.completions.create(model=MODEL, prompt="One, two, three,", **options).choices[0].text
    stop = whole[5:9]  # may lie across tokens
    cut = ai.completions.create(model=MODEL, prompt="One, two, three,", stop=[stop], **options).choices[0]
    assert cut.finish_reason == "stop"
    assert cut.text == whole[: whole.index(stop)]


def test_a_dropped_stream_is_paid_for_what_came_and_frees_its_slot_within_a_second(ai, stack):
    before, _held = balance(stack)
    stream = ai.chat.completions.create(model=MODEL, messages=STORY, max_tokens=400, stream=True)
    seen = ""
    for chunk in stream:
        seen += chunk.choices[0].delta.content or ""
        if len(seen) > 30:
            break
    stream.close()
    left = time.monotonic()
    wait_until(lambda: last_generation(stack)[0] == "stopped", 3, "the end")
    took = time.monotonic() - left
    state, prompt_tokens, completion_tokens, text = last_generation(stack)
    print(f"slot free and charged {took:.2f} s after the connection was closed")
    assert took < 1.0
    assert state == "stopped"
    assert text.startswith(seen)
    assert 0 < completion_tokens < 200
    assert balance(stack) == (before - cost(prompt_tokens, completion_tokens), 0)
    stack.verify_ledger()


def test_a_plain_request_that_is_given_up_is_paid_for_what_was_produced(ai, stack, key):
    before, _held = balance(stack)
    body = {"model": MODEL, "messages": STORY, "max_tokens": 400}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{stack.url}/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {key}"}, timeout=1.5
        )
    wait_until(lambda: last_generation(stack)[0] == "stopped", 1, "the slot to be free")
    _state, prompt_tokens, completion_tokens, _text = last_generation(stack)
    assert balance(stack) == (before - cost(prompt_tokens, completion_tokens), 0)
    stack.verify_ledger()


def test_time_outs_and_the_clients_own_retries_are_charged_once(ai, stack, key):
    before, _held = balance(stack)
    [(count,)] = stack.query("SELECT count(*) FROM inference_generation")
    with openai.OpenAI(base_url=f"{stack.url}/v1", api_key=key, max_retries=10, timeout=0.6) as impatient:
        answer = impatient.chat.completions.create(model=MODEL, messages=STORY, max_tokens=24)
    assert stack.query("SELECT count(*) FROM inference_generation") == [(count + 1,)]
    assert balance(stack) == (before - answer.usage.model_extra["cost_microcredits"], 0)
    stack.verify_ledger()


def test_kill_9_of_the_web_process_and_a_retry_with_the_key_is_charged_once(ai, stack, key):
    before, _held = balance(stack)
    headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": str(uuid4())}
    body = {"model": MODEL, "messages": STORY, "max_tokens": 48}
    broken = []

    def ask():
        try:
            httpx.post(f"{stack.url}/v1/chat/completions", json=body, headers=headers, timeout=180)
        except httpx.HTTPError as error:
            broken.append(error)

    first = threading.Thread(target=ask)
    first.start()
    wait_until(lambda: last_generation(stack)[0] == "running", 60, "the answer to begin")
    killed = stack.kill("web")
    first.join()
    assert broken
    wait_until(lambda: stack.pid("web") not in (0, killed) and stack.runtime["healthy"], 60, "a new web process")
    again = httpx.post(f"{stack.url}/v1/chat/completions", json=body, headers=headers, timeout=180).json()
    assert again["tally"]["state"] == "completed"
    assert balance(stack) == (before - again["usage"]["cost_microcredits"], 0)
    stack.verify_ledger()
