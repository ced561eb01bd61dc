"""The token relay: text flows from a worker to whoever watches through one Redis Stream a generation.

An entry holds `text` and `tokens` (the running count). The last entry holds `state`. Entry ids are the ids of the
server-sent events, so a reader that comes back names the last one it saw, misses nothing and repeats nothing. The
relay carries no money: when Redis is away, the answer goes on and is saved whole.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from functools import cache
from uuid import UUID

import redis
import redis.asyncio
from django.conf import settings
from redis.client import PubSub

logger = logging.getLogger(__name__)

STOP_CHANNEL = "generation-stops"
BEGINNING = "0-0"


@dataclass(frozen=True, slots=True)
class Chunk:
    """One entry: its id, the text it adds, the tokens so far, a notice to show while waiting, and the end state."""

    id: str
    text: str
    tokens: int
    notice: str
    state: str


@cache
def connection() -> "redis.Redis":
    """This process's connections to Redis; short time-outs, since a person waits."""
    return redis.Redis.from_url(settings.REDIS_URL, decode_responses=True, socket_timeout=5, socket_connect_timeout=2)


class RelayWriter:
    """Writes one generation's stream, a few tens of milliseconds of text at a time."""

    def __init__(self, generation_id: UUID) -> None:
        self._key = _stream_key(generation_id)
        self._text = ""
        self._tokens = 0
        self._written_at = 0.0

    def write(self, text: str, tokens: int) -> None:
        """Add text; it goes out with the next entry."""
        self._text += text
        self._tokens = tokens
        if self._text and time.monotonic() - self._written_at >= settings.RELAY_COALESCE_SECONDS:
            self._flush()

    def notice(self, text: str) -> None:
        """Tell who waits what they wait for."""
        self._add({"notice": text})

    def end(self, state: str) -> None:
        """Write what is left and the terminal entry, and let the stream expire."""
        if self._text:
            self._flush()
        self._add({"state": state})

    def _flush(self) -> None:
        if self._add({"text": self._text, "tokens": self._tokens}):
            self._text = ""
        self._written_at = time.monotonic()

    def _add(self, fields: dict[str, str | int]) -> bool:
        """Append an entry; False when Redis is away, and the text then goes out with a later one."""
        try:
            with connection().pipeline(transaction=False) as pipeline:
                pipeline.xadd(self._key, fields)  # type: ignore[arg-type]
                pipeline.expire(self._key, settings.RELAY_LIFETIME_SECONDS)
                pipeline.execute()
        except redis.RedisError as error:
            logger.warning("relay: Redis is away (%s), the answer goes on", type(error).__name__)
            return False
        return True


def read_text(generation_id: UUID) -> tuple[str, int]:
    """The text and token count that were written so far; empty when Redis is away or the stream has expired."""
    try:
        entries = connection().xrange(_stream_key(generation_id))
    except redis.RedisError:
        return "", 0
    chunks = [_chunk(entry_id, fields) for entry_id, fields in entries]  # type: ignore[union-attr]
    return "".join(chunk.text for chunk in chunks), max((chunk.tokens for chunk in chunks), default=0)


async def follow(generation_id: UUID, after: str, wait_seconds: float) -> AsyncGenerator[list[Chunk]]:
    """Yield the entries after the id `after` as they come, for ever; an empty list each time none came for a while.

    The reader stops at the terminal entry or when it closes the iterator. While Redis is away it yields empty
    lists, so that the caller can ask the database instead.
    """
    # Our own time-out: with a socket_timeout redis-py sends through asyncio.wait_for, which in Python 3.11 may swallow
    # the cancellation of a client that leaves, and the reader would go on for nobody.
    client = redis.asyncio.Redis.from_url(
        settings.REDIS_URL, decode_responses=True, socket_timeout=None, socket_connect_timeout=2
    )
    key = _stream_key(generation_id)
    async with client:
        while True:
            try:
                async with asyncio.timeout(wait_seconds + 5):
                    answer = await client.xread({key: after}, count=500, block=int(wait_seconds * 1000))
            except (redis.RedisError, TimeoutError):
                await asyncio.sleep(wait_seconds)
                answer = []
            chunks = [_chunk(entry_id, fields) for _key, entries in answer for entry_id, fields in entries]
            if chunks:
                after = chunks[-1].id
            yield chunks


def subscribe_to_stops() -> PubSub:
    """A subscription to the ids that `publish_stop` sends. A context manager; raises RedisError."""
    channel: PubSub = connection().pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
    channel.subscribe(STOP_CHANNEL)  # type: ignore[no-untyped-call]
    return channel


def publish_stop(generation_id: UUID) -> None:
    """Tell the workers to stop a generation now. When Redis is away they see it in the row with the next heartbeat."""
    try:
        connection().publish(STOP_CHANNEL, str(generation_id))
    except redis.RedisError as error:
        logger.warning("stop of %s goes by the row: Redis is away (%s)", generation_id, type(error).__name__)


def _stream_key(generation_id: UUID) -> str:
    return f"generation:{generation_id}"


def _chunk(entry_id: str, fields: dict[str, str]) -> Chunk:
    return Chunk(
        entry_id,
        fields.get("text", ""),
        int(fields.get("tokens", 0)),
        fields.get("notice", ""),
        fields.get("state", ""),
    )
