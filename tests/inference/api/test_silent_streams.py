"""A stream that has nothing to say stays open, through real proxies too; and a comment is no text that anybody paid."""

import socket
import time
from typing import Any

import httpx
import pytest

from inference.catalogue import DEMO_KEY
from inference.models import Generation, GenerationState
from tests.support.nginx import needs_nginx, nginx_before
from tests.support.openai_clients import price
from tests.support.stack import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

HELLO = [{"role": "user", "content": "Hello"}]
BODY = {"model": DEMO_KEY, "messages": HELLO, "stream": True}
BODIES = {
    "/v1/chat/completions": BODY,
    "/v1/completions": {"model": DEMO_KEY, "prompt": "Hello", "stream": True},
}
FIRST = {"x-stainless-retry-count": "0"}


def watch(http, url, body):
    """The text of a stream, and the longest silence in it, in seconds."""
    text, longest = "", 0.0
    with http.stream("POST", url, json=body, timeout=60) as answer:
        assert answer.status_code == 200
        moved_at = time.monotonic()
        for piece in answer.iter_text():
            text += piece
            longest, moved_at = max(longest, time.monotonic() - moved_at), time.monotonic()
    return text, longest


@pytest.fixture(scope="module")
def proxies(_live, tmp_path_factory):
    """Call it for the addresses of both nginxes, once the server runs."""
    opened: list[Any] = []

    def open_once():
        if not opened:
            opened.append(nginx_before(_live.url, tmp_path_factory.mktemp("nginx")))
            opened.append(opened[0].__enter__())
        return opened[1]

    yield open_once
    if opened:
        opened[0].__exit__(None, None, None)


@pytest.mark.parametrize("path", BODIES)
def test_while_an_answer_is_silent_comments_come(http, engine, paid, faults, path):
    engine.length, engine.step_seconds = 1, 7
    text, longest = watch(http, path, BODIES[path])
    assert text.count(": keep-alive\n\n") >= 2
    assert longest < 6  # of the seven seconds in which the engine says nothing, on a busy machine too
    assert text.endswith("data: [DONE]\n\n")
    assert paid() == (price(Generation.objects.get()), 0)
    assert faults() == []


def test_an_answer_that_is_not_silent_has_no_comments(http, engine):
    engine.length, engine.step_seconds = 20, 0.2
    text, _longest = watch(http, "/v1/chat/completions", BODY)
    assert "keep-alive" not in text


def test_the_official_client_does_not_notice_the_comments(ai, engine):
    engine.length, engine.step_seconds = 2, 4
    chunks = list(ai.chat.completions.create(**BODY))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == Generation.objects.get().text == "The quick"


@needs_nginx
@pytest.mark.parametrize("kind", ["default", "impatient"])
def test_nginx_passes_a_silent_stream_on_as_it_comes(http, engine, proxies, paid, faults, kind):
    engine.length, engine.step_seconds = 1, 7
    text, longest = watch(http, f"{proxies()[kind]}/v1/chat/completions", BODY)
    assert longest < 6  # of the seven seconds in which the engine says nothing, on a busy machine too
    assert text.endswith("data: [DONE]\n\n")
    assert paid() == (price(Generation.objects.get()), 0)
    assert faults() == []


@needs_nginx
def test_nginx_sends_chunked_and_compressed_bodies_on(http, engine, proxies):
    import gzip
    import json

    content = gzip.compress(json.dumps(BODY | {"stream": False}).encode())
    head = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    for body in (content, iter([content[:20], content[20:]])):
        answer = http.post(f"{proxies()['default']}/v1/chat/completions", content=body, headers=head)
        assert answer.status_code == 200, answer.text


def leave_after_a_comment(http, headers):
    request = http.build_request("POST", "/v1/chat/completions", json=BODY, headers=headers)
    lines = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    with socket.create_connection((request.url.host, request.url.port)) as wire:
        wire.sendall(f"POST /v1/chat/completions HTTP/1.1\r\n{lines}\r\n".encode() + request.read())
        received = b""
        while b": keep-alive" not in received:
            piece = wire.recv(4096)
            assert piece
            received += piece
    assert b'"content":"T' not in received


def test_a_comment_is_no_text_so_the_official_clients_retry_takes_the_answer_over(http, engine, paid, faults):
    engine.length, engine.step_seconds = 1, 6
    leave_after_a_comment(http, FIRST)
    again = http.post("/v1/chat/completions", json=BODY, headers={"x-stainless-retry-count": "1"})
    generation = Generation.objects.get()
    assert generation.state == GenerationState.COMPLETED
    assert generation.text in again.text
    assert paid() == (price(generation), 0)
    assert faults() == []


def test_who_leaves_while_comments_come_pays_for_what_was_produced(http, engine, paid, faults):
    engine.length, engine.step_seconds = 10, 5
    leave_after_a_comment(http, {})
    wait_until(lambda: not Generation.objects.live().exists(), 8, "the end")
    generation = Generation.objects.get()
    assert generation.state in (GenerationState.STOPPED, GenerationState.CANCELLED)
    assert generation.completion_tokens <= 2
    assert paid()[1] == 0
    assert faults() == []


def test_comments_end_with_the_answer(http, engine, caplog):
    """A comment after the last event would be one too many for the server, which logs it."""
    with httpx.Client(base_url=http.base_url, headers=http.headers, timeout=20) as client:
        for _ in range(2):
            client.post("/v1/chat/completions", json=BODY)
            time.sleep(3.5)
            assert client.get("/v1/models").status_code == 200
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
