"""Conversations and parameters as real clients keep them: what can be served honestly is served."""

import json

import pytest

from inference.catalogue import DEMO_KEY, NOT_OFFERED
from inference.models import CatalogueModel, Generation, PromptFormat
from inference.openai.requests import read_chat
from inference.prompting.prompts import Turn

QUESTION = {"role": "user", "content": "How is the weather in Paris?"}
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
CALLED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "Rain, 9 degrees"}
ASKED = 'I call the tool weather({"city": "Paris"})'
TOLD = "The tool answers:\nRain, 9 degrees"

KEPT = {
    "an assistant that has the last word": (
        [{"role": "user", "content": "Count"}, {"role": "assistant", "content": "One, two"}],
        [Turn("user", "Count"), Turn("assistant", "One, two")],
    ),
    "an assistant that speaks first": (
        [{"role": "assistant", "content": "Hello!"}, {"role": "user", "content": "Hi"}],
        [Turn("assistant", "Hello!"), Turn("user", "Hi")],
    ),
    "two system messages": (
        [{"role": "system", "content": "Rhyme."}, {"role": "system", "content": "Briefly."}, QUESTION],
        [Turn("user", QUESTION["content"])],
    ),
    "content that is null, absent or without parts": (
        [{"role": "user", "content": None}, {"role": "assistant"}, {"role": "user", "content": []}, QUESTION],
        [Turn("user", QUESTION["content"])],
    ),
    "an empty user": ([QUESTION, {"role": "user", "content": ""}], [Turn("user", QUESTION["content"])]),
    "a tool that was called": (
        [QUESTION, CALLED, RESULT, {"role": "user", "content": "So?"}],
        [Turn("user", QUESTION["content"]), Turn("assistant", ASKED), Turn("user", f"{TOLD}\n\nSo?")],
    ),
    "a tool in the way of before": (
        [
            QUESTION,
            {"role": "assistant", "content": "Let me look.", "function_call": CALL["function"]},
            {"role": "function", "name": "weather", "content": "Rain, 9 degrees"},
        ],
        [Turn("user", QUESTION["content"]), Turn("assistant", f"Let me look.\n{ASKED}"), Turn("user", TOLD)],
    ),
    "a refusal as a part": (
        [QUESTION, {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}, QUESTION],
        [Turn("user", QUESTION["content"]), Turn("assistant", "No."), Turn("user", QUESTION["content"])],
    ),
}


@pytest.fixture
def ask(http):
    """A plain request for an answer, with these members; the answer's JSON."""

    def post(**members):
        body = {"model": DEMO_KEY, "messages": [QUESTION]} | members
        answer = http.post("/v1/chat/completions", content=json.dumps(body))
        assert answer.status_code == 200, answer.text
        return answer.json()

    return post


@pytest.mark.parametrize("kind", KEPT)
def test_conversations_are_read_as_clients_keep_them_and_answered(ask, kind, faults):
    messages, turns = KEPT[kind]
    prompt = read_chat({"model": DEMO_KEY, "messages": messages}).prompt
    assert prompt.turns == turns
    assert ask(messages=messages)["choices"][0]["message"]["content"]
    assert faults() == []


def test_what_an_assistant_said_last_is_gone_on_with_blanks_and_all(ask):
    ask(messages=[QUESTION, {"role": "assistant", "content": "It is"}])
    assert Generation.objects.get().prompt_format == PromptFormat.OPEN_TRANSCRIPT


def test_what_other_servers_call_off_is_off(ask):
    for top_k in (-1, 0):
        ask(top_k=top_k)
    assert set(Generation.objects.values_list("top_k", flat=True)) == {64}
    ask(top_p=0)
    assert Generation.objects.latest("created_at").top_k == 1
    ask(stop="", n=1.0, best_of=1.0, logprobs=False)
    ask(stop=[], tools=[], tool_choice="auto")
    ask(stop=[""], tools=[{"type": "function", "function": {"name": "f"}}], tool_choice="none")
    assert {tuple(stop) for stop in Generation.objects.values_list("stop", flat=True)} == {()}


def test_a_length_beyond_the_context_is_cut_and_the_answer_says_so(ask, engine):
    model = CatalogueModel.objects.get(pk=DEMO_KEY)
    whole = ask(max_tokens=model.context_tokens)
    assert (whole["choices"][0]["finish_reason"], whole["tally"]["limited_by"]) == ("stop", None)
    CatalogueModel.objects.filter(pk=DEMO_KEY).update(max_completion_tokens=3)
    for asked in (-1, 10**6, 4):
        cut = ask(max_tokens=asked)
        assert (cut["choices"][0]["finish_reason"], cut["tally"]["limited_by"]) == ("length", "context")
        assert cut["usage"]["completion_tokens"] == 3
    asked_for = ask(max_tokens=3)
    assert (asked_for["choices"][0]["finish_reason"], asked_for["tally"]["limited_by"]) == ("length", None)


REASON = "Its weights are not on this machine: put them into MODEL_DIR, or run manage.py prepare_models."


def test_words_for_operators_reach_no_customer(http, with_key, alice, client):
    CatalogueModel.objects.filter(pk=DEMO_KEY).update(unavailable_reason=REASON)
    refused = http.post("/v1/chat/completions", json={"model": DEMO_KEY, "messages": [QUESTION]})
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "model_unavailable")
    api = with_key(alice)
    listed = api.get("/api/v1/models").json()["results"]
    asked = api.post("/api/v1/generations", {"model": DEMO_KEY, "messages": [QUESTION]})
    assert (asked.status_code, asked.json()["code"]) == (422, "model_unavailable")
    client.force_login(alice)
    page = client.get("/").content.decode()
    assert str(NOT_OFFERED) in page
    seen = (refused.text, json.dumps(listed), asked.content.decode(), page)
    assert all(str(NOT_OFFERED) in text for text in seen)
    assert not any(word in text for text in seen for word in ("MODEL_DIR", "manage.py", "prepare_models", "weights"))


def test_a_model_that_is_not_offered_is_in_no_list_and_a_404_by_name(http):
    CatalogueModel.objects.filter(pk=DEMO_KEY).update(unavailable_reason=REASON)
    assert DEMO_KEY not in [model["id"] for model in http.get("/v1/models").json()["data"]]
    found = http.get(f"/v1/models/{DEMO_KEY}")
    assert (found.status_code, found.json()["error"]["code"]) == (404, "model_not_found")


def test_half_a_character_in_the_name_of_a_model_is_not_said_back(http):
    answer = http.post("/v1/chat/completions", content=json.dumps({"model": "half \ud83d", "messages": [QUESTION]}))
    assert answer.status_code == 404
    assert "ud83d" not in answer.text.lower()
