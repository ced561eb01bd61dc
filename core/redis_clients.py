"""How this process talks to Redis: a client for each of its three users (docs/redis-users.md).

Whoever asks for one says how long an answer may take.
"""

from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry


def connect(
    url: str, *, answer_seconds: float, connect_seconds: float | None = None, as_text: bool = False, **options: Any
) -> "redis.Redis":
    """A client with connections of its own; it connects when it is first used, so this raises nothing.

    `answer_seconds` is the longest wait for an answer, and for a connection where `connect_seconds` does not say
    another; `as_text` decodes what comes back.
    """
    return redis.Redis.from_url(
        url,
        decode_responses=as_text,
        socket_timeout=answer_seconds,
        socket_connect_timeout=answer_seconds if connect_seconds is None else connect_seconds,
        **options,
    )


def one_more_try() -> Retry:
    """One try more, at once, in the place of redis-py's several with pauses: a person waits."""
    return Retry(NoBackoff(), 1)
