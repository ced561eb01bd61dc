"""A client that goes away pays for the prompt and what was produced, and its slot is free at once."""

import socket
import time

import httpx
import pytest
from django.http import StreamingHttpResponse

from inference.catalogue import DEMO_KEY
from inference.generations import client_requests
from inference.models import Generation, GenerationState
from inference.openai import answers
from inference.relay import streams
from inference.worker.process import current_worker
from tests.support.cast import at_once
from tests.support.openai_clients import price
from tests.support.stack import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

BODY = {"model": DEMO_KEY, "messages": [{"role": "user", "content": "Go on and on"}], "max_tokens": 500}


@pytest.fixture(autouse=True)
def _slow(engine):
    engine.length, engine.step_seconds = 1000, 0.05


def only_generation():
    return wait_until(Generation.objects.first, 5, "a generation")


def wait_for_tokens(generation, count):
    wait_until(lambda: streams.read_text(generation.pk)[1] >= count, 5, "some tokens")


def demand_stopped_at_once(generation, paid, faults):
    left = time.monotonic()
    wait_until(lambda: not current_worker().seats.jobs, 2, "the slot to be free")
    took = time.monotonic() - left
    generation.refresh_from_db()
    assert took < 1.0
    assert generation.state == GenerationState.STOPPED
    assert 0 < generation.completion_tokens < 100
    assert paid() == (price(generation), 0)
    assert faults() == []


def test_a_client_that_drops_a_stream_pays_for_what_came(http, paid, faults):
    with http.stream("POST", "/v1/chat/completions", json=BODY | {"stream": True}) as answer:
        lines = answer.iter_lines()
        while "fox" not in next(lines):
            pass
        generation = only_generation()
    demand_stopped_at_once(generation, paid, faults)


def test_the_official_client_that_closes_a_stream_pays_for_what_came(ai, paid, faults):
    stream = ai.chat.completions.create(**BODY, stream=True)
    for chunk in stream:
        if "fox" in (chunk.choices[0].delta.content or ""):
            break
    stream.close()
    demand_stopped_at_once(only_generation(), paid, faults)
    assert Generation.objects.get().client_attempt is None  # no retry takes it over


def test_a_client_that_gives_up_a_plain_request_pays_for_what_was_produced(http, paid, faults):
    with pytest.raises(httpx.ReadTimeout):
        http.post("/v1/chat/completions", json=BODY, timeout=0.6)
    demand_stopped_at_once(only_generation(), paid, faults)


def test_a_client_that_left_before_the_first_token_pays_for_what_was_produced(http, engine, paid, faults):
    """Or for nothing, if the answer was still queued."""
    engine.step_seconds = 0.5
    with http.stream("POST", "/v1/chat/completions", json=BODY | {"stream": True}):
        generation = only_generation()
    wait_until(lambda: not Generation.objects.live().exists(), 2, "the end")
    generation.refresh_from_db()
    assert generation.state in (GenerationState.STOPPED, GenerationState.CANCELLED)
    assert generation.completion_tokens <= 3
    assert paid()[1] == 0
    assert faults() == []


def test_a_client_that_leaves_while_its_answer_is_being_begun_leaves_nothing_running(
    http, server, monkeypatch, paid, faults
):
    """The thread that makes the hold cannot be interrupted: what it makes is seen to afterwards."""
    from inference.openai import answers

    begin = client_requests.begin_answer

    def begin_slowly(**options):
        time.sleep(0.8)
        return begin(**options)

    monkeypatch.setattr(answers, "begin_answer", begin_slowly)
    with pytest.raises(httpx.ReadTimeout):
        http.post("/v1/chat/completions", json=BODY, timeout=0.3)
    assert Generation.objects.count() == 0
    generation = only_generation()
    wait_until(lambda: not Generation.objects.live().exists(), 3, "the end")
    generation.refresh_from_db()
    assert generation.state in (GenerationState.STOPPED, GenerationState.CANCELLED)
    assert generation.completion_tokens < 20
    assert paid()[1] == 0
    assert faults() == []


def test_a_client_that_leaves_before_its_stream_is_read_leaves_nothing_running(http, monkeypatch, paid, faults):
    """Between our answer and its first byte there is nobody to notice but a clock."""

    async def never_read(*_args):
        raise AssertionError("not read")
        yield b""

    monkeypatch.setattr(answers, "BEGIN_TO_STREAM_SECONDS", 0.3)
    monkeypatch.setattr(StreamingHttpResponse, "__aiter__", lambda _self: never_read())
    with pytest.raises(httpx.HTTPError):
        http.post("/v1/chat/completions", json=BODY | {"stream": True})
    generation = only_generation()
    wait_until(lambda: not Generation.objects.live().exists(), 3, "the end")
    generation.refresh_from_db()
    assert generation.completion_tokens < 20
    assert paid()[1] == 0
    assert faults() == []


def test_a_stream_that_is_reset_by_the_network_is_stopped_too(http, server, paid, faults):
    host, port = server.url.removeprefix("http://").split(":")
    request = http.build_request("POST", "/v1/chat/completions", json=BODY | {"stream": True})
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    with socket.create_connection((host, int(port))) as wire:
        wire.sendall(f"POST /v1/chat/completions HTTP/1.1\r\n{head}\r\n".encode() + request.read())
        received = b""
        while b"fox" not in received:
            received += wire.recv(4096)
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")  # close with RST
    demand_stopped_at_once(only_generation(), paid, faults)


def test_twenty_clients_that_leave_at_once_leave_nothing_held(http, paid, faults):
    def leave(_n):
        with pytest.raises(httpx.ReadTimeout):
            http.post("/v1/chat/completions", json=BODY, timeout=3)

    at_once(20, leave)
    wait_until(lambda: not Generation.objects.live().exists(), 5, "all to end")
    generations = Generation.objects.select_related("hold")
    assert generations.count() == 20
    assert paid() == (sum(price(g) for g in generations if g.hold.state == "settled"), 0)
    assert faults() == []
