"""What a request's headers say of retries.

The official OpenAI clients send no key with their automatic retries. They count their attempts
(`x-stainless-retry-count`) and say how long they wait (`x-stainless-read-timeout`, seconds); after a time-out they
try again 0.5 s x 2^attempt later, at most 8 s (openai-python, `_base_client.py`). They never retry once an answer has
begun to stream.
"""

import math
from dataclasses import dataclass

from django.http import HttpRequest
from rest_framework.request import Request

MOST_ATTEMPTS = 1000
SLACK_SECONDS = 1.0  # for the network, and a client whose clock of the time-out began before ours


class InvalidIdempotencyKey(Exception):
    """The header is empty, too long, or not printable ASCII."""


@dataclass(frozen=True, slots=True)
class ClientRetries:
    """`attempt` is None unless an official client sent the request."""

    attempt: int | None
    read_timeout_seconds: float | None

    @classmethod
    def of(cls, request: HttpRequest) -> "ClientRetries":
        """Read the headers; what makes no sense counts as not sent."""
        return cls(
            _attempt(request.headers.get("x-stainless-retry-count", "")),
            _seconds(request.headers.get("x-stainless-read-timeout", "")),
        )

    def grace_seconds(self, waited_seconds: float) -> float:
        """How long to keep an answer for a client that left after waiting so long: 0 unless it timed out."""
        if self.attempt is None or self.read_timeout_seconds is None:
            return 0.0
        if waited_seconds < self.read_timeout_seconds - SLACK_SECONDS / 2:
            return 0.0
        return min(0.5 * 2.0**self.attempt, 8.0) + SLACK_SECONDS


def read_idempotency_key(request: HttpRequest | Request, most_characters: int = 255) -> str:
    """The `Idempotency-Key`, empty when none was sent. Raises InvalidIdempotencyKey."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return ""
    if not 1 <= len(key) <= most_characters or not key.isascii() or not key.isprintable():
        raise InvalidIdempotencyKey
    return key


def _attempt(text: str) -> int | None:
    is_number = text.isascii() and text.isdigit() and len(text) < 5
    return min(int(text), MOST_ATTEMPTS) if is_number else None


def _seconds(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds > 0 else None
