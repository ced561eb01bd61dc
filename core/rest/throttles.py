"""Rate limits: requests and tokens of the API by user and key, and guesses at passwords by address and account.

Redis counts both in fixed windows, for all processes together; django-ratelimit counts the guesses. While Redis is
away, the API works without these limits, because credits still limit what costs something; log-ins are refused.
"""

import time
from dataclasses import dataclass
from functools import cache
from typing import Any

import redis
from django.conf import settings
from django.db.models import Model
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django_ratelimit.core import get_usage
from rest_framework import exceptions

from core.client_addresses import client_network
from core.redis_clients import connect
from core.rest.problems import BY_STATUS, Problem


class RateLimited(exceptions.Throttled):
    """There were too many requests or tries. `wait` is the number of seconds until the window ends."""

    def __init__(self, wait: int, detail: str = "") -> None:
        super().__init__(detail=detail or _("Too many requests. Wait and try again."))
        self.wait: float = max(1, wait)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a caller has left of a limit in the current minute."""

    limit: int
    remaining: int
    reset_seconds: int

    def headers(self) -> dict[str, str]:
        """The `X-RateLimit-*` headers; `Reset` is in seconds from now."""
        return {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Reset": str(self.reset_seconds),
        }

    def openai_headers(self, of: str) -> dict[str, str]:
        """The same figures as headers of OpenAI's API. `of` is `requests` or `tokens`."""
        return {
            f"x-ratelimit-limit-{of}": str(self.limit),
            f"x-ratelimit-remaining-{of}": str(self.remaining),
            f"x-ratelimit-reset-{of}": f"{self.reset_seconds}s",
        }


def count_request(request: Any, *, user: Model | None, key: Model | None) -> None:
    """Count one request, and set its `rate_usage` for the `X-RateLimit-*` headers.

    Without a user, the request counts for its address. Raises RateLimited.
    """
    if user is None:
        counted = [(f"api-address:{client_network(request)}", settings.API_ADDRESS_REQUESTS_PER_MINUTE)]
    else:
        counted = [(f"api-user:{user.pk}", settings.API_USER_REQUESTS_PER_MINUTE)]
        if key is not None:
            counted.append((f"api-key:{key.pk}", settings.API_KEY_REQUESTS_PER_MINUTE))
    now = int(time.time())
    counts = count_in_minute([name for name, _limit in counted], 1, now)
    if counts is None:
        return
    request.rate_usage = _tightest(counted, counts, now)
    if any(count > limit for (_name, limit), count in zip(counted, counts, strict=True)):
        raise RateLimited(60 - now % 60)


def count_tokens(*, user: Model, key: Model | None, tokens: int) -> Usage | None:
    """Count the tokens of a request: those of its prompt, plus the most that its answer may have.

    Returns the caller's usage, or None while Redis is away. Raises RateLimited if earlier requests used up the minute's
    tokens; a request that begins within the limit may exceed it.
    """
    counted = [(f"api-tokens:user:{user.pk}", settings.API_USER_TOKENS_PER_MINUTE)]
    if key is not None:
        counted.append((f"api-tokens:key:{key.pk}", settings.API_KEY_TOKENS_PER_MINUTE))
    now = int(time.time())
    counts = count_in_minute([name for name, _limit in counted], tokens, now)
    if counts is None:
        return None
    for (_name, limit), count in zip(counted, counts, strict=True):
        if count - tokens >= limit:
            text = _("{limit} tokens a minute are allowed here, and they are used up. Wait {seconds} seconds.")
            wait = 60 - now % 60
            raise RateLimited(wait, text.format(limit=f"{limit:,}", seconds=wait))
    return _tightest(counted, counts, now)


def _tightest(counted: list[tuple[str, int]], counts: list[int], now: int) -> Usage:
    """The usage of the limit of which the least is left."""
    left = [(limit - count, limit) for (_name, limit), count in zip(counted, counts, strict=True)]
    remaining, limit = min(left)
    return Usage(limit, max(0, remaining), 60 - now % 60)


def count_in_minute(names: list[str], amount: int, now: int) -> list[int] | None:
    """Add `amount` to each counter of the current minute; return the new values, or None while Redis is away.

    Every request of the API waits for this, so it takes one round trip for all counters. django-ratelimit, which counts
    guesses, takes two for each counter.
    """
    try:
        with _counters().pipeline(transaction=False) as pipeline:
            for name in names:
                counter = f"minute:{now // 60}:{name}"
                pipeline.incrby(counter, amount)
                pipeline.expire(counter, 120)
            return [int(count) for count in pipeline.execute()[::2]]
    except redis.RedisError:
        return None


@cache
def _counters() -> redis.Redis:
    """One client for the process; Django's cache makes a new one for each request."""
    return connect(settings.CACHE_REDIS_URL, answer_seconds=1)


@dataclass(frozen=True, slots=True)
class GuessLimit:
    """How often a secret may be guessed, by address and by account. The longer windows slow down repeated guessing."""

    name: str
    by_address: tuple[str, ...]
    by_account: tuple[str, ...]


LOGIN = GuessLimit("login", by_address=("20/m", "200/h"), by_account=("5/5m", "15/h", "40/d"))
ACCOUNT_LOCK = GuessLimit("login", by_address=(), by_account=LOGIN.by_account)  # shuts an account for everybody
# For one browser in which the user has logged in before; the browser takes the place of the account.
DEVICE = GuessLimit("login-device", by_address=(), by_account=LOGIN.by_account)
SIGNUP = GuessLimit("signup", by_address=("10/m", "50/h"), by_account=("3/5m",))
RESET = GuessLimit("reset", by_address=("10/m", "50/h"), by_account=("3/5m", "10/d"))
EXPORT = GuessLimit("export", by_address=("20/h",), by_account=("5/h",))
IMPORT = GuessLimit("import", by_address=("60/h",), by_account=("20/h", "40/d"))  # they fill the disk, and cost nothing


def demand_allowed(request: HttpRequest, limit: GuessLimit, account: str) -> None:
    """Raise RateLimited while the address or the account has too many tries. This does not count as a try."""
    _try(request, limit, account, increment=False)


def count_try(request: HttpRequest, limit: GuessLimit, account: str) -> None:
    """Count one try. Raises RateLimited when it is one too many, and a 503 problem when it cannot be counted."""
    _try(request, limit, account, increment=True)


def _try(request: HttpRequest, limit: GuessLimit, account: str, *, increment: bool) -> None:
    counted = [("address", client_network(request), rate) for rate in limit.by_address]
    counted += [("account", account.strip().lower(), rate) for rate in limit.by_account]
    waits = []
    for name, value, rate in counted:
        usage = _count(f"{limit.name}-{name}", value, rate, increment=increment)
        if usage is None:
            raise Problem(BY_STATUS[503], _("This cannot be checked right now. Try again in a minute."))
        # Without counting, `count` is the number of earlier tries: a full window refuses the next one.
        if usage["should_limit"] or (not increment and usage["count"] >= usage["limit"]):
            waits.append(usage["time_left"])
    if waits:
        minutes = max(1, -(-max(waits) // 60))
        raise RateLimited(max(waits), _("Too many tries. Wait {minutes} minutes.").format(minutes=minutes))


def _count(name: str, value: str, rate: str, *, increment: bool = True) -> dict[str, Any] | None:
    """django-ratelimit's figures; None when Redis is away."""
    usage: dict[str, Any] | None = get_usage(
        None, group=name, key=lambda _group, _request: value, rate=rate, increment=increment
    )
    return usage if usage and usage["time_left"] >= 0 else None
