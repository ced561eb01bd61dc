"""Recognises the automatic retries of the official OpenAI clients by their headers.

These clients send no key with a retry, but the number of attempts before it (`x-stainless-retry-count`). They retry
after a time-out, a lost connection, a 409, a 429 or a 5xx, with a pause of 0.5 s x 2^attempt, at most 8 s
(openai-python, `_base_client.py`; openai-node, `client.ts`). Not all of them say what their time-out is. They never
retry once they have received the head of a response.

So a retry belongs to the attempt before it, unless that attempt was refused: then the retry begins anew. Refusals are
counted in Redis for REFUSED_SECONDS. While Redis is away, a retry may get the answer of an identical request, at no
cost.
"""

import hashlib
import logging

import redis
from django.http import HttpRequest

from inference.relay import streams

logger = logging.getLogger(__name__)

MOST_ATTEMPTS = 1000
SLACK_SECONDS = 1.0  # for the network
REFUSED_SECONDS = 120  # how long a refusal is known: clients heed a Retry-After of up to a minute


def read_attempt(request: HttpRequest) -> int | None:
    """The number of attempts before this one; None if an official client did not send it, or it is no number."""
    text = request.headers.get("x-stainless-retry-count", "")
    is_number = text.isascii() and text.isdigit() and len(text) < 5
    return min(int(text), MOST_ATTEMPTS) if is_number else None


def grace_seconds(attempt: int) -> float:
    """Seconds to keep an answer for the next attempt of a client that left without receiving anything."""
    return min(0.5 * 2.0**attempt, 8.0) + SLACK_SECONDS


def note_refusal(request: HttpRequest) -> None:
    """Note that this request was refused, so that its next attempt begins anew.

    Only refusals of authenticated callers are noted: others could fill Redis.
    """
    attempt = read_attempt(request)
    if attempt is None or not getattr(request, "is_of_a_caller", False):
        return
    counter = _counter(request, attempt)
    try:
        with streams.connection().pipeline(transaction=False) as pipeline:
            pipeline.incr(counter)
            pipeline.expire(counter, REFUSED_SECONDS)
            pipeline.execute()
    except redis.RedisError as error:
        logger.warning("a refusal is not noted: Redis is away (%s)", type(error).__name__)


def was_refused(request: HttpRequest, attempt: int) -> bool:
    """Whether the attempt before this one was refused. Each noted refusal counts for one retry only."""
    counter = _counter(request, attempt - 1)
    try:
        if int(streams.connection().decr(counter)) >= 0:  # type: ignore[arg-type]
            return True
        streams.connection().delete(counter)
    except redis.RedisError as error:
        logger.warning("refusals are not known: Redis is away (%s)", type(error).__name__)
    return False


def _counter(request: HttpRequest, attempt: int) -> str:
    """The key of a counter. Requests have the same key only if they are equal to the byte, as retries are."""
    parts = [request.headers.get("Authorization", ""), request.path, str(attempt)]
    return f"refused:{hashlib.sha256('|'.join(parts).encode() + request.body).hexdigest()}"
