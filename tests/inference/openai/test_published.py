"""Answers of /v1/ are what OpenAI's published schema says, with no further members but those named here.

The schema is data of OpenAI's: tests/inference/openai/openai_schema/README.md says where it is from.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from inference.catalogue import DEMO_KEY

SCHEMAS = json.loads(Path(__file__).with_name("openai_schema").joinpath("openapi.json").read_text())["components"][
    "schemas"
]
CHAT = ("/v1/chat/completions", {"model": DEMO_KEY, "messages": [{"role": "user", "content": "Hello"}]})
TEXT = ("/v1/completions", {"model": DEMO_KEY, "prompt": "Once upon"})

# What we add to an object of OpenAI's, by the name of its schema.
OURS = {
    "CompletionUsage": ["cost_microcredits"],
    "CreateChatCompletionResponse": ["tally"],
    "CreateChatCompletionStreamResponse": ["tally"],
    "CreateCompletionResponse": ["tally"],
    "Model": [
        "architecture",
        "context_length",
        "context_window",
        "default_parameters",
        "description",
        "max_completion_tokens",
        "name",
        "pricing",
        "supported_parameters",
        "top_provider",
    ],
}


def closed(node: Any, ours: Sequence[str] = ()) -> Any:
    """A schema that takes the members it names, and `ours`. `nullable` is of OpenAPI 3.0, which theirs still has."""
    if isinstance(node, list):
        return [closed(each) for each in node]
    if not isinstance(node, dict):
        return node
    found = {name: closed(value) for name, value in node.items()}
    if isinstance(found.get("properties"), dict) and "additionalProperties" not in found:
        found["properties"] |= dict.fromkeys(ours, True)
        found["additionalProperties"] = False
    return {"anyOf": [{"type": "null"}, found]} if found.pop("nullable", None) is True else found


CLOSED = {"components": {"schemas": {name: closed(each, OURS.get(name, ())) for name, each in SCHEMAS.items()}}}


def faults(name, body):
    """What OpenAI's schema of this name has against it."""
    checked = Draft202012Validator(CLOSED | {"$ref": f"#/components/schemas/{name}"})
    return [f"{error.json_path}: {error.message[:200]}" for error in checked.iter_errors(body)]


def chunks_of(http, asked):
    """Every chunk of a stream, the one with the usage too."""
    path, body = asked
    streamed = http.post(path, json=body | {"stream": True, "stream_options": {"include_usage": True}})
    lines = [line.removeprefix("data: ") for line in streamed.text.splitlines() if line.startswith("data: ")]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize(
    ("asked", "name"),
    [(CHAT, "CreateChatCompletionResponse"), (TEXT, "CreateCompletionResponse")],
    ids=["chat", "text"],
)
def test_plain_answers(http, asked, name):
    answer = http.post(asked[0], json=asked[1]).json()
    assert faults(name, answer) == []
    assert faults(name, answer | {"more": 1})
    assert faults(name, answer | {"choices": [answer["choices"][0] | {"finish_reason": "stopped"}]})


def test_every_chunk_of_a_chat(http):
    chunks = chunks_of(http, CHAT)
    assert len(chunks) >= 3
    assert chunks[-1]["usage"]["completion_tokens"] == 6
    assert [fault for chunk in chunks for fault in faults("CreateChatCompletionStreamResponse", chunk)] == []


def test_every_chunk_of_a_text_save_for_what_openais_own_have_null(http):
    """Their schema is of the whole answer: their stream too has null for usage and reason until the end."""
    chunks = chunks_of(http, TEXT)
    assert len(chunks) >= 3
    for chunk in chunks[:-1]:
        assert chunk.pop("usage") is None
        [choice] = chunk["choices"]
        choice["finish_reason"] = choice["finish_reason"] or "stop"
    assert [fault for chunk in chunks for fault in faults("CreateCompletionResponse", chunk)] == []


def test_models(http):
    listed = http.get("/v1/models").json()
    assert listed["data"]
    assert faults("ListModelsResponse", listed) == []
    assert faults("Model", http.get(f"/v1/models/{DEMO_KEY}").json()) == []


def test_errors(http, settings):
    answers = [
        http.post(CHAT[0], json=CHAT[1] | {"temperature": 9}),
        http.post(CHAT[0], json=CHAT[1], headers={"Authorization": "Bearer wrong"}),
        http.get("/v1/models/gpt-99"),
        http.get("/v1/nothing"),
    ]
    settings.API_USER_REQUESTS_PER_MINUTE = 1
    answers += [http.post(TEXT[0], json=TEXT[1]) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [400, 401, 404, 404, 429, 429]
    assert [fault for answer in answers for fault in faults("ErrorResponse", answer.json())] == []
    assert faults("ErrorResponse", {"error": {"message": "", "type": "", "code": None}})
