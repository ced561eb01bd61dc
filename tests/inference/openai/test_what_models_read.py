"""The rule of `test_what_can_be_shown` on the live server: what a model reads of what clients of OpenAI send."""

import pytest

from inference.catalogue import DEMO_KEY
from tests.support.pasted import PASTED, SHOWN
from tests.support.stack import wait_until


@pytest.fixture
def asked(engine, monkeypatch):
    """What the engine of the live server was asked to go on from, in token ids."""
    prompts, deltas = [], engine.deltas
    monkeypatch.setattr(engine, "deltas", lambda request: prompts.append(request.prompt_token_ids) or deltas(request))
    return prompts


def test_what_cannot_be_shown_is_stripped_for_clients_of_openai(http, tokenizer, asked):
    messages = [{"role": "user", "content": PASTED}]
    answer = http.post("/v1/chat/completions", json={"model": DEMO_KEY, "messages": messages})
    assert answer.status_code == 200, answer.text
    assert SHOWN in tokenizer.decode(asked[0])


def test_a_raw_prompt_is_stripped_too(http, tokenizer, asked):
    for url in ("/v1/completions", "/api/v1/generations"):
        answer = http.post(url, json={"model": DEMO_KEY, "prompt": "Once\x1b upon\x0c "})
        assert answer.status_code < 300, answer.text
        wait_until(lambda: asked, 10, "the engine to be asked")
        assert tokenizer.decode(asked.pop(), skip_special_tokens=True) == "Once upon "
        assert http.post(url, json={"model": DEMO_KEY, "prompt": "\x1b\x00"}).status_code == 400
