"""The streamed answer: nothing missed, nothing repeated, wherever a reader begins."""

import asyncio
import re

import pytest
from asgiref.sync import sync_to_async
from django.urls import reverse

from inference.generations import endings
from inference.models import Generation
from inference.relay import following, streams, writer
from tests.support.cast import begin
from tests.support.databases.redis_admin import admin

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def generation(client, alice, send):
    """A running generation of alice whose relay the test writes."""
    client.force_login(alice)
    send()
    generation = Generation.objects.get()
    assert begin(generation)
    return generation


async def read(async_client, generation, last_event_id="", until="done", after=""):
    """Events as (name, id, html) up to the one named `until`."""
    headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
    url = reverse("chat:events", args=[generation.pk]) + (f"?after={after}" if after else "")
    response = await async_client.get(url, headers=headers)
    assert response["Content-Type"] == "text/event-stream"
    events, reached = [], asyncio.Event()

    async def consume():
        async for part in response.streaming_content:
            events.extend(parse(block) for block in part.decode().split("\n\n") if block.startswith("event:"))
            if any(name == until for name, _id, _html in events):
                reached.set()

    reader, stop = asyncio.create_task(consume()), asyncio.create_task(reached.wait())
    await asyncio.wait({reader, stop}, timeout=20, return_when=asyncio.FIRST_COMPLETED)
    for task in (reader, stop):
        task.cancel()  # as the ASGI handler does when a client leaves
    await asyncio.gather(reader, stop, return_exceptions=True)
    return events


def parse(block):
    lines = [line.partition(": ") for line in block.splitlines()]
    fields = {name: value for name, _colon, value in lines if name != "data"}
    return fields["event"], fields.get("id", ""), "\n".join(value for name, _c, value in lines if name == "data")


def write(generation, *texts, at=0):
    """An entry for each text, the first `at` characters into the answer."""
    for number, text in enumerate(texts, start=1):
        streams.connection().xadd(streams.stream_key(generation.pk), {"text": text, "at": at, "tokens": number})
        at += len(text)


def finish(generation, text, tokens=3):
    endings.settle_generation(generation_id=generation.pk, text=text, completion_tokens=tokens, finish_reason="stop")
    writer.RelayWriter(generation.pk).end("completed")


def plain(html):
    return re.sub(r"<[^>]*>", "", html)


async def test_a_reader_gets_blocks_once_and_the_receipt_at_the_end(async_client, alice, generation):
    await async_client.aforce_login(alice)
    await sync_to_async(write)(generation, "# Hi\n\n", "Some ", "text")
    await sync_to_async(finish)(generation, "# Hi\n\nSome text")
    events = await read(async_client, generation)
    assert events[0][0] == "start"
    name, _id, html = events[-1]
    assert name == "done"
    assert "Some text" in html
    assert "3 out" in html
    assert 'hx-swap-oob="true"' in html


async def test_a_reader_who_comes_back_misses_nothing_and_repeats_nothing(async_client, alice, generation):
    await async_client.aforce_login(alice)
    await sync_to_async(write)(generation, "First block\n\n", "second ")
    seen = await read(async_client, generation, until="tail")
    last_id = next(event_id for name, event_id, _html in seen if name == "tail")
    await sync_to_async(write)(generation, "block\n\n", "third", at=len("First block\n\nsecond "))
    again = await read(async_client, generation, last_event_id=last_id, until="tail")
    assert [name for name, _id, _html in again if name == "start"] == []
    blocks = "".join(html for name, _id, html in again if name == "block")
    assert plain(blocks).split() == ["second", "block"]
    assert plain(next(html for name, _id, html in again if name == "tail")).strip() == "third"


async def test_a_page_that_was_hidden_names_the_last_event_in_the_address(async_client, alice, generation):
    await async_client.aforce_login(alice)
    await sync_to_async(write)(generation, "First block\n\n", "second ")
    seen = await read(async_client, generation, until="tail")
    last_id = next(event_id for name, event_id, _html in seen if name == "tail")
    await sync_to_async(write)(generation, "third", at=len("First block\n\nsecond "))
    again = await read(async_client, generation, after=last_id, until="tail")
    assert [name for name, _id, _html in again if name in ("start", "block")] == []
    assert plain(again[-1][2]).strip() == "second third"
    await sync_to_async(write)(generation, " fourth", at=len("First block\n\nsecond third"))
    newer = next(event_id for name, event_id, _html in again if name == "tail")
    late = await read(async_client, generation, last_event_id=newer, after=last_id, until="tail")
    assert plain(late[-1][2]).strip() == "second third fourth"


async def test_a_stream_without_a_log_in_says_so_in_an_event(async_client, generation):
    await async_client.alogout()
    headers = {"Accept": "text/event-stream"}
    response = await async_client.get(reverse("chat:events", args=[generation.pk]), headers=headers)
    assert (response.status_code, response["Content-Type"]) == (200, "text/event-stream")
    assert response.content == b"event: login\ndata:\n\n"


async def test_a_nonsense_event_id_begins_anew(async_client, alice, generation):
    await async_client.aforce_login(alice)
    await sync_to_async(write)(generation, "hello")
    events = await read(async_client, generation, last_event_id="²-;drop", until="tail")
    assert plain(events[-1][2]).strip() == "hello"


async def test_a_reader_of_an_ended_answer_gets_it_at_once_even_without_a_relay(async_client, alice, generation):
    await async_client.aforce_login(alice)
    await sync_to_async(finish)(generation, "All of it")
    await sync_to_async(admin().flushdb)()
    events = await asyncio.wait_for(read(async_client, generation), timeout=10)
    assert "All of it" in events[-1][2]


async def test_a_waiting_reader_is_told_what_for(async_client, alice, generation):
    await async_client.aforce_login(alice)
    await sync_to_async(writer.RelayWriter(generation.pk).notice)("loading")
    events = await read(async_client, generation, until="status")
    assert events[-1][2] == "Loading the model…"


async def test_a_queued_reader_is_told_how_many_are_ahead(async_client, alice, send, catalogue, client):
    await sync_to_async(client.force_login)(alice)
    await sync_to_async(send)()
    await sync_to_async(send)("Another")
    await async_client.aforce_login(alice)
    last = await Generation.objects.order_by("-created_at").afirst()
    events = await asyncio.wait_for(read(async_client, last, until="status"), timeout=10)
    assert events[-1][2] == "1 ahead of you"


async def test_a_reader_whose_prompt_is_being_read_is_told_how_long_it_is(async_client, alice, generation):
    await async_client.aforce_login(alice)
    events = await asyncio.wait_for(read(async_client, generation, until="status"), timeout=10)
    assert events[-1][2] == f"Reading your prompt, {generation.prompt_tokens} tokens"


async def test_an_answer_that_has_begun_does_not_read_its_prompt_again(async_client, alice, generation, monkeypatch):
    monkeypatch.setattr(following, "WAIT_SECONDS", 0.2)
    await async_client.aforce_login(alice)
    await sync_to_async(write)(generation, "hello")
    reading = asyncio.create_task(read(async_client, generation))
    await asyncio.sleep(1)  # several looks at the row without a new word
    await sync_to_async(finish)(generation, "hello")
    events = await asyncio.wait_for(reading, timeout=10)
    assert [html for name, _id, html in events if name == "status" and html] == []
