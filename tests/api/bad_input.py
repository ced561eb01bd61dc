"""Where bad input is sent to."""

import json
from uuid import uuid4

import pytest

from inference.catalogue import DEMO_KEY

HELLO = [{"role": "user", "content": "Hello"}]
PAGE, REST, OPENAI, TALK = "page", "rest", "openai", "conversation"


@pytest.fixture
def post(client, with_key, alice):
    """Call it with a surface and fields: status and whole text of the answer."""
    client.force_login(alice)
    api = with_key(alice)

    def send(surface, fields):
        fields = dict(fields)
        if surface == PAGE:
            form = {"text": "Hello", "model": DEMO_KEY, "idempotency_key": uuid4()} | fields
            answer = client.post("/send/", form, headers={"HX-Request": "true"})
        elif surface == TALK:
            talk = api.post("/api/v1/conversations", {"model": DEMO_KEY}).json()["id"]
            url = f"/api/v1/conversations/{talk}/messages"
            answer = api.post(url, json.dumps(fields), content_type="application/json")
        else:
            url = "/api/v1/generations" if surface == REST else "/v1/chat/completions"
            messages = [{"role": "user", "content": fields.pop("text")}] if "text" in fields else HELLO
            body = json.dumps({"model": DEMO_KEY, "messages": messages} | fields)
            answer = api.post(url, body, content_type="application/json")
        return answer.status_code, answer.content.decode()

    return send
