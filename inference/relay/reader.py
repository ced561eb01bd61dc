"""Reads the relay in a web process: one connection to Redis reads the streams of all followers of an event loop.

With a connection and a blocking read for each follower, and a wake-up for each entry, reading would cost more than
everything else that is done for a streamed answer (docs/adr/0017).
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable
from uuid import UUID, uuid4
from weakref import WeakKeyDictionary

import redis
import redis.asyncio
from django.conf import settings

from inference.relay import streams as relay_streams
from inference.relay.streams import Chunk, read_chunk, stream_key

logger = logging.getLogger(__name__)

BLOCK_MILLISECONDS = 1000  # how long a read that finds nothing blocks
WAKE_AFTER_SECONDS = 0.005  # a new follower waits so long for the current read to end before it interrupts it
WAKEUP_LIFETIME_SECONDS = 60
ANSWER_SECONDS = 5.0  # without an answer of Redis for so long, it counts as away
ENTRIES_A_READ = 500  # of one stream
AWAY_SECONDS = 1.0  # between two tries while Redis is away

observers: list[Callable[[int], None]] = []  # called with 1 when a follower begins to read, and with -1 when it ends


async def follow(generation_id: UUID, after: str, wait_seconds: float) -> AsyncGenerator[list[Chunk]]:
    """Yield the entries after the id `after` as they come; an empty list if none came for `wait_seconds`.

    It never ends: the caller closes it after the last entry, or when it wants no more. While Redis is away it yields
    empty lists, so that the caller can read the database instead.
    """
    follower = _Follower(stream_key(generation_id), after)
    reader = _reader_of_this_loop()
    reader.add(follower)
    _observe(1)
    try:
        while True:
            yield await follower.take(wait_seconds)
    finally:
        reader.remove(follower)
        _observe(-1)


class _Follower:
    """One reader of one stream: its position, and the entries that it has not taken yet."""

    def __init__(self, key: str, after: str) -> None:
        self.key = key
        self._given = _parts(after)
        # The last entry that the follower has is read again, since it says how much text the follower has.
        self.after = _before(self._given)
        self._seen: int | None = None  # how many characters the follower has; unknown until the first text
        self._chunks: list[Chunk] = []
        self._came = asyncio.Event()

    def give(self, chunk: Chunk) -> None:
        """Add an entry, unless it was given before."""
        place = _parts(chunk.id)
        if place <= self.after:
            return
        self.after = place
        if chunk.text:
            chunk = chunk.after(chunk.at if self._seen is None else self._seen)
            self._seen = chunk.at + len(chunk.text)
        if place > self._given:
            self._chunks.append(chunk)
            self._came.set()

    async def take(self, wait_seconds: float) -> list[Chunk]:
        """The entries since the last call. If there are none, wait up to `wait_seconds` for the first."""
        if not self._chunks:
            alarm = asyncio.get_running_loop().call_later(wait_seconds, self._came.set)
            try:
                await self._came.wait()
            finally:
                alarm.cancel()
        self._came.clear()
        chunks, self._chunks = self._chunks, []
        return chunks


class _Reader:
    """Reads for the followers of one event loop, as long as there are any."""

    def __init__(self) -> None:
        self._followers: dict[str, set[_Follower]] = {}
        self._task: asyncio.Task[None] | None = None
        self._wakeup_key = f"relay-bell:{uuid4()}"  # a stream that is read with the others, to end a read early
        self._last_wakeup = relay_streams.BEGINNING
        self._waking: asyncio.Task[None] | None = None
        self._client: redis.asyncio.Redis | None = None  # while a read is under way
        self._has_new = False  # whether there are followers that the current read does not include

    def add(self, follower: _Follower) -> None:
        """Read for this follower too, from the next round trip on, which begins soon."""
        self._followers.setdefault(follower.key, set()).add(follower)
        self._has_new = True
        loop = asyncio.get_running_loop()
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._read_for_ever())
        elif self._waking is None or self._waking.done():
            self._waking = loop.create_task(self._wake())

    def remove(self, follower: _Follower) -> None:
        """Stop reading for this follower."""
        followers = self._followers[follower.key]
        followers.discard(follower)
        if not followers:
            del self._followers[follower.key]

    async def _wake(self) -> None:
        """End the current read early, so that the next one includes new followers. If this fails, it ends by itself."""
        await asyncio.sleep(WAKE_AFTER_SECONDS)
        if self._client is None or not self._has_new:
            return
        with contextlib.suppress(redis.RedisError, TimeoutError):
            async with asyncio.timeout(ANSWER_SECONDS), self._client.pipeline(transaction=False) as pipeline:
                pipeline.xadd(self._wakeup_key, {"rung": 1}, maxlen=1, approximate=False)
                pipeline.expire(self._wakeup_key, WAKEUP_LIFETIME_SECONDS)
                await pipeline.execute()

    async def _read_for_ever(self) -> None:
        while self._followers:  # a follower that is added while the connection is closing gets a new connection
            await self._read_on_one_connection()

    async def _read_on_one_connection(self) -> None:
        # `_read` has a time-out of its own instead of a socket_timeout: with that, redis-py sends through
        # asyncio.wait_for, which in Python 3.11 may swallow a cancellation.
        client = redis.asyncio.Redis.from_url(
            settings.RELAY_REDIS_URL, decode_responses=True, socket_timeout=None, socket_connect_timeout=2
        )
        async with client:
            while self._followers:
                try:
                    await self._read(client)
                except (redis.RedisError, TimeoutError) as error:
                    logger.warning("relay: Redis is away (%s)", type(error).__name__)
                    await asyncio.sleep(AWAY_SECONDS)

    async def _read(self, client: "redis.asyncio.Redis") -> None:
        """Read all followed streams in one round trip, then pause, so that the next read finds more entries."""
        # A follower that is added during this read is served by the next one: this read may begin after its last entry.
        asked = {key: list(followers) for key, followers in self._followers.items()}
        streams = {key: _id_of(min(each.after for each in followers)) for key, followers in asked.items()}
        streams[self._wakeup_key] = self._last_wakeup
        self._client, self._has_new = client, False
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                answer = await client.xread(streams, count=ENTRIES_A_READ, block=BLOCK_MILLISECONDS)  # type: ignore[arg-type]
        finally:
            self._client = None
        for key, entries in answer:
            if key == self._wakeup_key:
                self._last_wakeup = entries[-1][0]
                continue
            for entry_id, fields in entries:
                chunk = read_chunk(entry_id, fields)
                for follower in asked[key]:
                    follower.give(chunk)
        await asyncio.sleep(max(settings.RELAY_READ_PAUSE_SECONDS, len(streams) / settings.RELAY_READS_PER_SECOND))


_readers: "WeakKeyDictionary[asyncio.AbstractEventLoop, _Reader]" = WeakKeyDictionary()


def _reader_of_this_loop() -> _Reader:
    return _readers.setdefault(asyncio.get_running_loop(), _Reader())


def _observe(change: int) -> None:
    for observe in observers:
        observe(change)


def _parts(entry_id: str) -> tuple[int, int]:
    """An entry id, "milliseconds-sequence", as numbers that can be compared."""
    milliseconds, _dash, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence)


def _before(place: tuple[int, int]) -> tuple[int, int]:
    """The largest id below this one."""
    milliseconds, sequence = place
    if sequence:
        return milliseconds, sequence - 1
    return (milliseconds - 1, 2**64 - 1) if milliseconds else (0, 0)


def _id_of(parts: tuple[int, int]) -> str:
    return f"{parts[0]}-{parts[1]}"
