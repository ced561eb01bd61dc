"""How often: requests and tokens of the API by user and key, and tries at the doors by address and account.

Counted by django-ratelimit in Redis, in fixed windows, for all processes together. With Redis away the API stays open
(what costs credits is limited by credits) and the doors stay shut.
"""

import time
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django_ratelimit.core import get_usage
from rest_framework import exceptions

from accounts.api_problems import BY_STATUS, Problem
from accounts.http import client_address
from accounts.models import ApiKey, User


class RateLimited(exceptions.Throttled):
    """Too many. `wait` is how many seconds until the window ends."""

    def __init__(self, wait: int, detail: str = "") -> None:
        super().__init__(detail=detail or _("Too many requests. Wait and try again."))
        self.wait: float = max(1, wait)


@dataclass(frozen=True, slots=True)
class Usage:
    """Where a caller stands in the current minute."""

    limit: int
    remaining: int
    reset_seconds: int

    def headers(self) -> dict[str, str]:
        """As clients read them; `Reset` is in seconds from now."""
        return {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Reset": str(self.reset_seconds),
        }


def count_request(request: Any, *, user: User | None, key: ApiKey | None) -> None:
    """Count one request and note on it where the caller stands, for the `X-RateLimit-*` headers.

    Without a user the address is counted. Raises RateLimited.
    """
    if user is None:
        counted = [("api-address", client_address(request), settings.API_ADDRESS_REQUESTS_PER_MINUTE)]
    else:
        counted = [("api-user", str(user.pk), settings.API_USER_REQUESTS_PER_MINUTE)]
        if key is not None:
            counted.append(("api-key", str(key.pk), settings.API_KEY_REQUESTS_PER_MINUTE))
    usages = [usage for name, value, limit in counted if (usage := _count(name, value, f"{limit}/m"))]
    if not usages:
        return
    tightest = min(usages, key=lambda usage: usage["limit"] - usage["count"])
    request.rate_usage = Usage(
        tightest["limit"], max(0, tightest["limit"] - tightest["count"]), max(1, tightest["time_left"])
    )
    if any(usage["should_limit"] for usage in usages):
        raise RateLimited(max(usage["time_left"] for usage in usages if usage["should_limit"]))


def count_tokens(*, user: User, key: ApiKey | None, tokens: int) -> None:
    """Count the tokens that a request reserves: its prompt, and the most that its answer may have.

    Raises RateLimited when the minute was used up before; what begins within the limit may go beyond it.
    """
    now = int(time.time())
    counted = [(f"user:{user.pk}", settings.API_USER_TOKENS_PER_MINUTE)]
    if key is not None:
        counted.append((f"key:{key.pk}", settings.API_KEY_TOKENS_PER_MINUTE))
    for name, limit in counted:
        before = _add_tokens(f"api-tokens:{name}:{now // 60}", tokens)
        if before >= limit:
            text = _("{limit} tokens a minute are allowed here, and they are used up. Wait {seconds} seconds.")
            wait = 60 - now % 60
            raise RateLimited(wait, text.format(limit=f"{limit:,}", seconds=wait))


def _add_tokens(counter: str, tokens: int) -> int:
    """How many were counted before these; 0 with Redis away."""
    cache.add(counter, 0, timeout=120)
    try:
        return max(0, (cache.incr(counter, tokens) or 0) - tokens)
    except ValueError:  # the counter is gone, or was never made
        return 0


@dataclass(frozen=True, slots=True)
class Door:
    """A door that is guessed at: how often an address and an account may try. Longer windows make it back off."""

    name: str
    by_address: tuple[str, ...]
    by_account: tuple[str, ...]


LOGIN = Door("login", by_address=("20/m", "200/h"), by_account=("5/5m", "15/h", "40/d"))
SIGNUP = Door("signup", by_address=("10/m", "50/h"), by_account=("3/5m",))
RESET = Door("reset", by_address=("10/m", "50/h"), by_account=("3/5m", "10/d"))
EXPORT = Door("export", by_address=("20/h",), by_account=("5/h",))


def demand_open(request: HttpRequest, door: Door, account: str) -> None:
    """Raise RateLimited while the address or the account has tried too often; counts nothing."""
    _try(request, door, account, increment=False)


def count_try(request: HttpRequest, door: Door, account: str) -> None:
    """Count one try. Raises RateLimited when it is one too many, and a 503 problem when it cannot be counted."""
    _try(request, door, account, increment=True)


def _try(request: HttpRequest, door: Door, account: str, *, increment: bool) -> None:
    counted = [("address", client_address(request), rate) for rate in door.by_address]
    counted += [("account", account.strip().lower(), rate) for rate in door.by_account]
    waits = []
    for name, value, rate in counted:
        usage = _count(f"{door.name}-{name}", value, rate, increment=increment)
        if usage is None:
            raise Problem(BY_STATUS[503], _("This cannot be checked right now. Try again in a minute."))
        # A reading says how many were; the next one is refused when the window is full.
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
