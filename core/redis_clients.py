"""Redis clients of this process, which log in as three different Redis users (docs/redis-users.md).

The caller says how long Redis may take to answer.
"""

from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry


def connect(
    url: str, *, answer_seconds: float, connect_seconds: float | None = None, as_text: bool = False, **options: Any
) -> "redis.Redis":
    """Return a client with connections of its own. It connects on first use, so this raises nothing.

    `answer_seconds` is the time-out for an answer, and also for connecting if `connect_seconds` is not given.
    `as_text` decodes answers to str.
    """
    return redis.Redis.from_url(
        url,
        decode_responses=as_text,
        socket_timeout=answer_seconds,
        socket_connect_timeout=answer_seconds if connect_seconds is None else connect_seconds,
        **options,
    )


def one_more_try() -> Retry:
    """One immediate retry instead of redis-py's several with pauses, for calls that a person waits for."""
    return Retry(NoBackoff(), 1)
