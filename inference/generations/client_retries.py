"""What a request's headers say of retries.

The official OpenAI clients send no key with their automatic retries; they count their attempts
(`x-stainless-retry-count`). They try again 0.5 s x 2^attempt after a time-out, a lost connection, a 409, a 429 or a
5xx, at most 8 s later (openai-python, `_base_client.py`; openai-node, `client.ts`). How long they wait before, not all
of them say. They never retry once the head of an answer has reached them.

So a retry belongs to the attempt before it, unless that one was refused: then it begins anew. Refusals are counted in
Redis for a while; with Redis away, a retry may get the answer of an identical request, at no cost.
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
    """The attempts before this one; None unless an official client sent it. What makes no sense was not sent."""
    text = request.headers.get("x-stainless-retry-count", "")
    is_number = text.isascii() and text.isdigit() and len(text) < 5
    return min(int(text), MOST_ATTEMPTS) if is_number else None


def grace_seconds(attempt: int) -> float:
    """How long to keep an answer for the next attempt of a client that left with nothing."""
    return min(0.5 * 2.0**attempt, 8.0) + SLACK_SECONDS


def note_refusal(request: HttpRequest) -> None:
    """The next attempt of this request begins anew. Of callers whom we know alone: strangers could fill Redis."""
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
    """Whether the attempt before this one was refused. Each refusal is good for one retry."""
    counter = _counter(request, attempt - 1)
    try:
        if int(streams.connection().decr(counter)) >= 0:  # type: ignore[arg-type]
            return True
        streams.connection().delete(counter)
    except redis.RedisError as error:
        logger.warning("refusals are not known: Redis is away (%s)", type(error).__name__)
    return False


def _counter(request: HttpRequest, attempt: int) -> str:
    """Whatever makes two requests the same, to the byte: retries repeat it."""
    parts = [request.headers.get("Authorization", ""), request.path, str(attempt)]
    return f"refused:{hashlib.sha256('|'.join(parts).encode() + request.body).hexdigest()}"
