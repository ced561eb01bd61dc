"""Comments on silent streams of events: never inside an event, never after the end, never on anything else."""

import asyncio

import pytest

from core.serving import keep_alive
from core.serving.keep_alive import COMMENT, KeepAlive


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(keep_alive, "KEEP_ALIVE_SECONDS", 0.05)


class Wire:
    """The end of a connection that notes what is sent."""

    def __init__(self):
        self.sent = []
        self.is_full = asyncio.Event()
        self.is_full.set()

    async def send(self, message):
        await self.is_full.wait()
        self.sent.append(message.get("body", message.get("status")))


def head(kind=b"text/event-stream"):
    return {"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]}


def body(content, more=True):
    return {"type": "http.response.body", "body": content, "more_body": more}


async def test_comments_come_while_nothing_else_does():
    wire = Wire()
    alive = KeepAlive(wire.send)
    await alive.send(head())
    await asyncio.sleep(0.18)
    await alive.send(body(b"data: 1\n\n"))
    await alive.send(body(b"", more=False))
    await asyncio.sleep(0.1)
    assert wire.sent[:3] == [200, COMMENT, COMMENT]
    assert wire.sent[-2:] == [b"data: 1\n\n", b""]


@pytest.mark.parametrize("kind", [b"application/json", b"text/html; charset=utf-8"])
async def test_whatever_is_no_stream_of_events_gets_none(kind):
    wire = Wire()
    alive = KeepAlive(wire.send)
    await alive.send(head(kind))
    await asyncio.sleep(0.12)
    await alive.send(body(b"x", more=False))
    assert wire.sent == [200, b"x"]


async def test_no_comment_lands_inside_an_event():
    wire = Wire()
    alive = KeepAlive(wire.send)
    await alive.send(head())
    await alive.send(body(b"data: half of "))
    await asyncio.sleep(0.12)
    await alive.send(body(b"an event\n\n"))
    alive.stop()
    assert wire.sent == [200, b"data: half of ", b"an event\n\n"]


async def test_a_piece_of_nothing_changes_nothing():
    wire = Wire()
    alive = KeepAlive(wire.send)
    await alive.send(head())
    await alive.send(body(b"data: 1\n\n"))
    await alive.send(body(b""))
    await asyncio.sleep(0.07)
    alive.stop()
    assert wire.sent == [200, b"data: 1\n\n", b"", COMMENT]


async def test_a_client_that_does_not_read_gets_one_comment_and_then_its_events_in_order():
    wire = Wire()
    alive = KeepAlive(wire.send)
    await alive.send(head())
    wire.is_full.clear()
    await asyncio.sleep(0.2)
    event = asyncio.create_task(alive.send(body(b"data: 1\n\n")))
    await asyncio.sleep(0.05)
    wire.is_full.set()
    await event
    alive.stop()
    await asyncio.sleep(0)
    assert wire.sent == [200, COMMENT, b"data: 1\n\n"]


async def test_an_end_that_finds_a_comment_under_way_is_the_last_that_is_sent():
    wire = Wire()
    alive = KeepAlive(wire.send)
    await alive.send(head())
    wire.is_full.clear()
    await asyncio.sleep(0.1)
    end = asyncio.create_task(alive.send(body(b"", more=False)))
    await asyncio.sleep(0.05)
    wire.is_full.set()
    await end
    await asyncio.sleep(0.1)
    assert wire.sent[-1] == b""
