"""One rule for the text of all three doors: what cannot be shown is stripped, and the rest stays as it was written."""

import pytest

from chat.models import Message
from inference.catalogue import DEMO_KEY
from inference.models import Generation
from inference.prompting.showable import showable
from tests.api.test_bad_input import PAGE, REST, TALK, post  # noqa: F401  a fixture
from tests.stack import wait_until

pytestmark = pytest.mark.django_db(transaction=True)
PASTED = "\x1b[1m    def f():\r\n\t\x0creturn '\ufffd'\x00\x85\x7f\r"
SHOWN = "[1m    def f():\n\treturn '\ufffd'"
INDENTED = "\n\n    def f():\n        return 1\n"


def test_only_tab_and_newline_stay_of_all_control_characters():
    text = "".join(map(chr, range(0x300)))
    assert showable(text) == "\t\n" + "".join(c for c in "\n" + text[0x20:0x7F] + text[0xA0:])
    assert showable("a\r\nb\rc") == "a\nb\nc"


@pytest.mark.parametrize("door", [PAGE, TALK, REST])
def test_what_cannot_be_shown_is_stripped_at_every_door(post, alice, tokenizer, door):  # noqa: F811
    status, told = post(door, {"text": PASTED})
    assert status < 300, told
    generation = Generation.objects.get()
    assert SHOWN in tokenizer.decode(generation.prompt_token_ids)
    assert "\x1b" not in tokenizer.decode(generation.prompt_token_ids)


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


@pytest.mark.parametrize("door", [PAGE, TALK])
def test_the_first_line_keeps_its_indentation(post, alice, door):  # noqa: F811
    post(door, {"text": INDENTED})
    assert Message.objects.earliest("pk").text == INDENTED.strip("\n")
