"""Answers of /v1/ are what OpenAI's own types say, strictly, and what our documentation says.

The types of the official client are made from the schema that OpenAI publishes.
"""

import json

import jsonschema
import openai.types
import pytest
from openai.types import chat

from inference.catalogue import DEMO_KEY

HELLO = [{"role": "user", "content": "Hello"}]
CHAT = ("/v1/chat/completions", {"model": DEMO_KEY, "messages": HELLO, "max_tokens": 5})
TEXT = ("/v1/completions", {"model": DEMO_KEY, "prompt": "Once upon", "max_tokens": 5})


def as_json_schema(node):
    """OpenAPI 3.0's `nullable` in the words of JSON Schema."""
    if isinstance(node, list):
        return [as_json_schema(each) for each in node]
    if not isinstance(node, dict):
        return node
    found = {name: as_json_schema(value) for name, value in node.items()}
    return {"anyOf": [{"type": "null"}, found]} if found.pop("nullable", False) else found


@pytest.fixture
def ours(client, db):
    """Check a body against one of our own schemas."""
    schemas = client.get("/api/v1/schema/").json()["components"]["schemas"]

    def check(name, body):
        schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": as_json_schema(schemas)}}
        jsonschema.validate(body, schema)

    return check


@pytest.mark.parametrize(
    ("asked", "theirs", "name"),
    [(CHAT, chat.ChatCompletion, "OpenAIChatAnswer"), (TEXT, openai.types.Completion, "OpenAITextAnswer")],
    ids=["chat", "text"],
)
def test_plain_answers(http, ours, asked, theirs, name):
    path, body = asked
    answer = http.post(path, json=body)
    theirs.model_validate_json(answer.content, strict=True)
    ours(name, answer.json())
    with pytest.raises(jsonschema.ValidationError):
        ours(name, answer.json() | {"usage": {}})


@pytest.mark.parametrize(
    ("asked", "theirs"), [(CHAT, chat.ChatCompletionChunk), (TEXT, openai.types.Completion)], ids=["chat", "text"]
)
def test_every_chunk_of_a_stream(http, asked, theirs):
    path, body = asked
    streamed = http.post(path, json=body | {"stream": True, "stream_options": {"include_usage": True}}).text
    chunks = [line.removeprefix("data: ") for line in streamed.splitlines() if line.startswith("data: {")]
    assert len(chunks) >= 3
    for chunk in chunks:
        body = json.loads(chunk)
        assert "system_fingerprint" not in body
        if theirs is openai.types.Completion:  # whose type is of the whole: OpenAI streams null until the end too
            for choice in body["choices"]:
                choice["finish_reason"] = choice["finish_reason"] or "stop"
        theirs.model_validate_json(json.dumps(body), strict=True)


def test_models_and_errors(http, ours):
    listed = http.get("/v1/models").json()
    ours("OpenAIModels", listed)
    for model in listed["data"]:
        openai.types.Model.model_validate(model, strict=True)
        assert model == http.get(f"/v1/models/{model['id']}").json()
        assert model["pricing"]["prompt_microcredits"] > 0
        assert model["context_length"] > model["max_completion_tokens"] > 0
    for answer in (
        http.get("/v1/models/gpt-99"),
        http.post(CHAT[0], json=CHAT[1] | {"temperature": 9}),
        http.post(CHAT[0], json=CHAT[1], headers={"Authorization": "Bearer wrong"}),
    ):
        assert answer.status_code >= 400
        ours("OpenAIError", answer.json())
        openai.types.shared.ErrorObject.model_validate(answer.json()["error"], strict=True)
