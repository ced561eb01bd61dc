"""Requests that do not end, and those that are too large, on a real server: closed in time, and kept nowhere."""

import socket
import threading
import time

import pytest
import uvicorn
from django.core.handlers.asgi import ASGIHandler

from core.serving import bodies, web_server
from core.serving.handlers import Dispatcher
from core.serving.web_server import PatientProtocol

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def address():
    config = uvicorn.Config(
        Dispatcher(), port=0, log_level="critical", lifespan="off", loop="asyncio", http=PatientProtocol
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="uvicorn")
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()
    server.should_exit = True
    thread.join(timeout=30)


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(web_server, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.3)


def say(address, *pieces, pause=0.0):
    """What the server answers until it closes, and after how many seconds."""
    with socket.create_connection(address, timeout=10) as wire:
        for piece in pieces:
            try:
                wire.sendall(piece)
            except OSError:  # it has closed already
                break
            time.sleep(pause)
        began, answer = time.monotonic(), b""
        try:
            while piece := wire.recv(65_536):
                answer += piece
        except (TimeoutError, ConnectionResetError):
            pass
        return answer, time.monotonic() - began


HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize("begun", [b"", b"GET /hea", HEAD, HEAD + b"X-More: "])
def test_a_head_that_does_not_come_is_not_waited_for(address, impatient, begun):
    answer, seconds = say(address, begun)
    assert answer.startswith(b"HTTP/1.1 408")
    assert seconds < 5


def test_a_head_that_drips_is_not_waited_for(address, impatient):
    answer, _seconds = say(address, HEAD, *([b"X-More: 1\r\n"] * 20), pause=0.05)
    assert answer.startswith(b"HTTP/1.1 408")


def test_the_second_request_of_a_connection_is_not_waited_for_either(address, impatient):
    answer, _seconds = say(address, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /hea", pause=0.2)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"HTTP/1.1 408" in answer


@pytest.mark.parametrize("pieces", [1, 40])
def test_a_head_that_is_too_large_is_refused(address, pieces):
    line = b"X-Large: " + b"x" * (200_000 // pieces) + b"\r\n"
    answer, _seconds = say(address, HEAD, *([line] * pieces), b"\r\n")
    assert answer.startswith(b"HTTP/1.1 431")


def test_a_body_that_does_not_come_is_not_waited_for(address, impatient):
    answer, seconds = say(address, HEAD + b"Content-Length: 100\r\n\r\n{")
    assert answer.startswith(b"HTTP/1.1 408")
    assert seconds < 5


@pytest.mark.parametrize("path", [b"/v1/chat/completions", b"/api/v1/generations", b"/accounts/login/"])
@pytest.mark.parametrize("is_declared", [True, False])
def test_a_body_that_is_too_large_is_read_by_nobody(address, path, is_declared, monkeypatch):
    """Before anybody asks who sends it: 40 MB of it would lie on the disk."""
    kept = []
    read_body = ASGIHandler.read_body

    async def note(self, receive):
        body = await read_body(self, receive)
        kept.append(len(body.read()))
        body.seek(0)
        return body

    monkeypatch.setattr(ASGIHandler, "read_body", note)
    piece = b"x" * 100_000
    size = b"Content-Length: 5000000\r\n" if is_declared else b"Transfer-Encoding: chunked\r\n"
    if not is_declared:
        piece = b"%x\r\n" % len(piece) + piece + b"\r\n"
    head = b"POST " + path + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + size + b"\r\n"
    answer, _seconds = say(address, head, *([piece] * 50), b"" if is_declared else b"0\r\n\r\n")
    assert answer.split()[1] in (b"413",)
    assert kept
    assert kept[0] <= 2_500_000


def test_fields_after_a_body_are_kept_nowhere(address, monkeypatch):
    """A chunked body may be followed by more fields, as many as a client likes."""
    kept = []
    lost = PatientProtocol.connection_lost
    monkeypatch.setattr(
        PatientProtocol, "connection_lost", lambda self, error: kept.append(len(self.headers)) or lost(self, error)
    )
    head = HEAD + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n"
    say(address, head, b"X-More: 1\r\n" * 10_000, b"\r\n")
    assert kept
    assert max(kept) < 10


def test_who_is_answered_before_the_body_ended_is_answered_for_the_last_time(address):
    """Else a byte every few seconds would keep the connection for ever."""
    answer, _seconds = say(address, HEAD + b"Content-Length: 10000000000\r\n\r\n{")
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in answer.lower()


def test_an_ordinary_request_passes(address, impatient):
    answer, _seconds = say(address, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
