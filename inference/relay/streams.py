"""The format of the token relay: one Redis Stream for each generation carries its text from the worker to its readers.

An entry has `text`, `tokens` (the count so far), and the log probabilities of the tokens of its text if the request
asked for them. The last entry has `state`. The ids of entries are also the ids of the server-sent events. So a client
that reconnects sends the last id it saw, misses nothing and gets nothing twice. No charge depends on the relay: while
Redis is away, the answer goes on and is saved in full.

`writer` writes the streams, `reader` reads them.
"""

import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any
from uuid import UUID

import redis
from django.conf import settings
from redis.client import PubSub

from core.redis_clients import connect, one_more_try

logger = logging.getLogger(__name__)


STOP_CHANNEL = "generation-stops"


_ENTRY_ID = re.compile(r"[0-9]{1,15}-[0-9]{1,9}", re.ASCII)


BEGINNING = "0-0"


@dataclass(frozen=True, slots=True)
class Chunk:
    """One entry: its id, the text it adds, the tokens so far, a notice to show while waiting, and the end state.

    `at` is how many characters of the answer came before `text`. If Redis stores an entry but its confirmation is lost,
    the text is sent again; by `at`, readers know what they have already. `logprobs` have the stored format of
    `inference.generations.logprobs`, and `logprobs_at` is how many of them came before.
    """

    id: str
    text: str
    at: int
    tokens: int
    notice: str
    state: str
    logprobs: Sequence[Any] = ()
    logprobs_at: int = 0

    def after(self, seen: int) -> "Chunk":
        """The chunk without the text that a reader with the first `seen` characters has already."""
        return self if seen <= self.at else replace(self, text=self.text[seen - self.at :], at=seen)

    def logprobs_after(self, seen: int) -> Sequence[Any]:
        """The log probabilities that a reader with the first `seen` of the answer does not have yet."""
        return self.logprobs[max(0, seen - self.logprobs_at) :]


@cache
def connection() -> "redis.Redis":
    """This process's connections to Redis, with short time-outs, since a person waits, and one retry.

    There are no more retries, because the writer sends later what could not be sent now.
    """
    return connect(settings.RELAY_REDIS_URL, answer_seconds=5, connect_seconds=2, as_text=True, retry=one_more_try())


def read_text(generation_id: UUID) -> tuple[str, int]:
    """The text and token count that the relay has so far; empty when Redis is away or the stream has expired."""
    try:
        entries = connection().xrange(stream_key(generation_id))
    except redis.RedisError:
        return "", 0
    text, tokens = "", 0
    for entry_id, fields in entries:  # type: ignore[union-attr]
        chunk = read_chunk(entry_id, fields)
        text += chunk.after(len(text)).text
        tokens = max(tokens, chunk.tokens)
    return text, tokens


def subscribe_to_stops() -> PubSub:
    """A subscription to the ids that `publish_stop` sends. A context manager; raises RedisError."""
    channel: PubSub = connection().pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
    channel.subscribe(STOP_CHANNEL)  # type: ignore[no-untyped-call]
    return channel


def publish_stop(generation_id: UUID) -> None:
    """Tell the workers to stop a generation now. Without Redis, they see it in the row at the next heartbeat."""
    try:
        connection().publish(STOP_CHANNEL, str(generation_id))
    except redis.RedisError as error:
        logger.warning("stop of %s goes by the row: Redis is away (%s)", generation_id, type(error).__name__)


def is_entry_id(text: str) -> bool:
    """Whether this has the form of an entry id; clients may send any text."""
    return _ENTRY_ID.fullmatch(text) is not None


def stream_key(generation_id: UUID) -> str:
    """The Redis Stream of a generation."""
    return f"generation:{generation_id}"


def read_chunk(entry_id: str, fields: dict[str, str]) -> Chunk:
    """Convert an entry from Redis to a Chunk."""
    return Chunk(
        entry_id,
        fields.get("text", ""),
        int(fields.get("at", 0)),
        int(fields.get("tokens", 0)),
        fields.get("notice", ""),
        fields.get("state", ""),
        json.loads(fields.get("logprobs", "[]")),
        int(fields.get("logprobs_at", 0)),
    )
