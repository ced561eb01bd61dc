"""The relay: nothing missed, nothing twice, in order, whatever Redis does in between."""

import asyncio
import time
from contextlib import aclosing
from uuid import UUID, uuid4

import pytest
import redis

from inference.relay import reader, streams
from inference.relay import writer as relay_writer
from inference.relay.reader import follow
from inference.relay.streams import BEGINNING, read_text
from inference.relay.writer import RelayWriter
from tests.inference.asking import wait_for
from tests.support.databases.redis_admin import admin


def entries_of(generation_id):
    return [fields for _id, fields in streams.connection().xrange(streams.stream_key(generation_id))]


async def read_to_end(generation_id, after=BEGINNING):
    """The chunks after `after`, the terminal one included."""
    chunks = []
    async with aclosing(follow(generation_id, after, 0.5)) as batches:
        async for batch in batches:
            chunks += batch
            if chunks and chunks[-1].state:
                break
    return chunks


def test_what_comes_close_together_is_one_entry_and_the_end_comes_last():
    generation_id = uuid4()
    writer = RelayWriter(generation_id)
    writer.write("The ", 1)
    time.sleep(0.02)
    for count, word in enumerate(("quick ", "brown ", "fox"), start=2):
        writer.write(word, count)
    writer.end("completed")
    first, *middle, last = entries_of(generation_id)
    assert first == {"text": "The ", "at": "0", "tokens": "1"}
    assert middle == []
    assert last == {"text": "quick brown fox", "at": "4", "tokens": "4", "state": "completed"}
    assert admin().ttl(streams.stream_key(generation_id)) > 0
    assert read_text(generation_id) == ("The quick brown fox", 4)


@pytest.mark.parametrize("has_text", [True, False], ids=["after some text", "with nothing before"])
def test_a_stream_outlives_its_answer_by_minutes_only(settings, has_text):
    generation_id = uuid4()
    key, writer = streams.stream_key(generation_id), RelayWriter(generation_id)
    if has_text:
        writer.write("The ", 1)
        wait_for(lambda: entries_of(generation_id))
        assert 300 < admin().ttl(key) <= settings.RELAY_LIFETIME_SECONDS
    writer.end("completed")
    assert 0 < admin().ttl(key) <= settings.RELAY_AFTER_END_SECONDS == 300


def test_with_many_streams_each_has_entries_less_often_and_its_end_at_once(settings):
    settings.RELAY_ENTRIES_PER_SECOND = 10
    settings.RELAY_LONGEST_PAUSE_SECONDS = 5
    others = [RelayWriter(uuid4()) for _ in range(20)]
    generation_id = uuid4()
    writer = RelayWriter(generation_id)
    for count in range(1, 9):
        writer.write("word ", count)
        time.sleep(0.05)
    assert [entry["text"] for entry in entries_of(generation_id)] == ["word "]
    writer.end("completed")
    assert [entry["tokens"] for entry in entries_of(generation_id)] == ["1", "8"]
    settings.RELAY_LONGEST_PAUSE_SECONDS = 0.05
    patient = RelayWriter(uuid4())
    patient.write("one ", 1)
    time.sleep(0.03)
    patient.write("two ", 2)
    wait_for(lambda: read_text(UUID(patient.key.partition(":")[2])) == ("one two ", 2), 1)
    assert len(others) == 20


def test_streams_that_began_apart_have_their_next_entries_together(settings):
    # Each entry of its own wakes a reader; those of a round wake them once.
    settings.RELAY_COALESCE_SECONDS = 5
    generation_ids = [uuid4() for _ in range(3)]
    writers = [RelayWriter(each) for each in generation_ids]
    for writer in writers:
        writer.write("first ", 1)
        time.sleep(0.02)
    wait_for(lambda: all(entries_of(each) for each in generation_ids))
    assert len({writer.due_at for writer in writers}) == 1


class Flaky:
    """Redis that takes what it is sent and loses the confirmation, or is not there at all."""

    def __init__(self, real, *, is_taken):
        self.real, self.is_taken, self.failures = real, is_taken, 2

    def pipeline(self, transaction):
        pipeline = self.real.pipeline(transaction=transaction)
        if self.failures:
            self.failures -= 1
            execute = pipeline.execute

            def fail():
                if self.is_taken:
                    execute()
                raise redis.TimeoutError("no answer")

            pipeline.execute = fail
        return pipeline


@pytest.mark.parametrize("is_taken", [True, False], ids=["confirmation lost", "not there"])
async def test_text_that_redis_did_not_confirm_is_sent_again_and_read_once(monkeypatch, is_taken):
    generation_id = uuid4()
    flaky = Flaky(streams.connection(), is_taken=is_taken)
    real = streams.connection
    monkeypatch.setattr(streams, "connection", lambda: flaky)
    writer = RelayWriter(generation_id)
    writer.write("Over the ", 2)
    await asyncio.to_thread(wait_for, lambda: not flaky.failures)
    writer.write("lazy dog", 4)
    monkeypatch.setattr(streams, "connection", real)
    await asyncio.to_thread(writer.end, "completed")
    chunks = await read_to_end(generation_id)
    assert "".join(chunk.text for chunk in chunks) == "Over the lazy dog"
    assert read_text(generation_id) == ("Over the lazy dog", 4)
    assert len(entries_of(generation_id)) == (3 if is_taken else 1)


@pytest.mark.parametrize("is_taken", [True, False], ids=["confirmation lost", "not there"])
async def test_log_probabilities_that_redis_did_not_confirm_are_sent_again_and_told_once(monkeypatch, is_taken):
    generation_id = uuid4()
    flaky, real = Flaky(streams.connection(), is_taken=is_taken), streams.connection
    monkeypatch.setattr(streams, "connection", lambda: flaky)
    writer = RelayWriter(generation_id)
    writer.write("Over ", 1, [[0, ["Over ", -0.5]]])
    await asyncio.to_thread(wait_for, lambda: not flaky.failures)
    writer.write("lazy", 2, [[5, ["lazy", -0.25]]])
    monkeypatch.setattr(streams, "connection", real)
    await asyncio.to_thread(writer.end, "completed")
    told = []
    for chunk in await read_to_end(generation_id):
        told += chunk.logprobs_after(len(told))
    assert told == [[0, ["Over ", -0.5]], [5, ["lazy", -0.25]]]


async def test_who_comes_back_is_not_given_again_what_was_written_twice():
    generation_id = uuid4()
    key = streams.stream_key(generation_id)
    seen = streams.connection().xadd(key, {"text": "Over the ", "at": 0, "tokens": 2})
    streams.connection().xadd(key, {"text": "Over the lazy ", "at": 0, "tokens": 3})  # its confirmation was lost
    RelayWriter(generation_id).end("completed")
    assert "".join(chunk.text for chunk in await read_to_end(generation_id, seen)) == "lazy "


def test_an_end_that_redis_cannot_take_lets_its_thread_go_on(monkeypatch):
    dead = redis.Redis(port=1, socket_connect_timeout=0.2, retry=None)
    monkeypatch.setattr(streams, "connection", lambda: dead)
    RelayWriter(uuid4()).end("completed")  # returns: readers ask the database


async def test_readers_at_different_places_of_one_stream_get_each_what_they_miss():
    generation_id = uuid4()
    writer = RelayWriter(generation_id)
    for count, word in enumerate(("one ", "two ", "three "), start=1):
        writer.write(word, count)
        await asyncio.to_thread(wait_for, lambda count=count: read_text(generation_id)[1] == count)
    from_second = (await first_chunks(generation_id, 3))[0].id
    readers = [asyncio.create_task(read_to_end(generation_id, after)) for after in (BEGINNING, from_second)]
    await asyncio.sleep(0.1)
    writer.write("four", 4)
    await asyncio.to_thread(writer.end, "completed")
    whole, rest = await asyncio.gather(*readers)
    assert "".join(chunk.text for chunk in whole) == "one two three four"
    assert "".join(chunk.text for chunk in rest) == "two three four"


async def test_who_joins_while_others_are_read_for_misses_nothing():
    generation_id = uuid4()
    writer = RelayWriter(generation_id)
    readers = []
    for count in range(1, 31):
        writer.write(f"{count} ", count)
        readers.append(asyncio.create_task(read_to_end(generation_id)))
        await asyncio.sleep(0.015)
    await asyncio.to_thread(writer.end, "completed")
    whole = "".join(f"{count} " for count in range(1, 31))
    assert {"".join(chunk.text for chunk in chunks) for chunks in await asyncio.gather(*readers)} == {whole}


async def first_chunks(generation_id, count):
    chunks = []
    async with aclosing(follow(generation_id, BEGINNING, 0.5)) as batches:
        async for batch in batches:
            chunks += batch
            if len(chunks) >= count:
                break
    return chunks


async def test_who_joins_while_the_others_are_silent_is_read_for_now(monkeypatch):
    monkeypatch.setattr(reader, "BLOCK_MILLISECONDS", 0)  # a read that nobody ends never ends
    silent, ended = uuid4(), uuid4()
    for generation_id in (silent, ended):
        RelayWriter(generation_id).write("Hello", 1)
    RelayWriter(ended).end("completed")
    async with aclosing(follow(silent, BEGINNING, 5)) as batches:
        assert [chunk.text for chunk in await anext(batches)] == ["Hello"]
        for _again in range(3):
            await asyncio.sleep(0.1)  # the next read is under way
            async with asyncio.timeout(3):
                assert (await read_to_end(ended))[-1].state == "completed"
    bells = list(admin().scan_iter("relay-bell:*"))
    assert bells
    assert all(0 < admin().ttl(key) <= 60 and admin().xlen(key) == 1 for key in bells)


async def test_a_hundred_streams_at_once_arrive_whole_and_in_order():
    ids = [uuid4() for _ in range(100)]
    readers = [asyncio.create_task(read_to_end(generation_id)) for generation_id in ids]
    writers = [RelayWriter(generation_id) for generation_id in ids]
    for count in range(1, 21):
        for number, writer in enumerate(writers):
            writer.write(f"{number}.{count} ", count)
        await asyncio.sleep(0.01)
    await asyncio.to_thread(lambda: [writer.end("completed") for writer in writers])
    for number, chunks in enumerate(await asyncio.gather(*readers)):
        assert "".join(chunk.text for chunk in chunks) == "".join(f"{number}.{count} " for count in range(1, 21))


async def test_who_watches_nothing_yet_is_told_so_now_and_then():
    async with aclosing(follow(uuid4(), BEGINNING, 0.05)) as batches:
        assert [await anext(batches) for _ in range(3)] == [[], [], []]


def test_a_notice_that_was_lost_on_the_way_silences_nobody(monkeypatch):
    """A notice alone, given back, left an entry without a field, which Redis' client refuses: for all of the round."""
    connection, refused = streams.connection, []

    def away_once():
        if not refused:
            refused.append(True)
            raise redis.ConnectionError("gone for a moment")
        return connection()

    loading, other = RelayWriter(uuid4()), RelayWriter(uuid4())
    monkeypatch.setattr(streams, "connection", away_once)
    loading.notice("loading")
    wait_for(lambda: refused)
    time.sleep(1.2)
    other.write("text", 1)
    loading.write("more", 1)
    wait_for(lambda: entries_of(UUID(other.key.removeprefix("generation:"))))
    wait_for(lambda: len(entries_of(UUID(loading.key.removeprefix("generation:")))) == 2)
    assert [list(entry) for entry in entries_of(UUID(loading.key.removeprefix("generation:")))] == [
        ["notice"],
        ["text", "at", "tokens"],
    ]


def test_the_thread_that_sends_outlives_whatever_goes_wrong(monkeypatch):
    send, broken = relay_writer._send, []

    def fail_once(entries):
        if not broken:
            broken.append(True)
            raise ValueError("not an error of Redis")
        send(entries)

    monkeypatch.setattr(relay_writer, "_send", fail_once)
    generation_id = uuid4()
    writer = RelayWriter(generation_id)
    writer.write("kept", 1)
    wait_for(lambda: broken)
    writer.end("completed")
    assert read_text(generation_id) == ("kept", 1)
