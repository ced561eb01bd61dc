"""Limits on how often promotion codes may be tried, by account and by address. They stop guessing.

django-ratelimit counts the tries in the cache. If the cache is not reachable, tries cannot be counted and no code is
accepted: a code is worth money, and a customer can try again a minute later.
"""

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django_ratelimit.core import get_usage

from core.client_addresses import client_network


class TooManyTries(Exception):
    """Wait `wait_seconds` before the next try."""

    def __init__(self, *, wait_seconds: int) -> None:
        super().__init__(f"wait {wait_seconds} seconds")
        self.wait_seconds = wait_seconds


class CannotCount(Exception):
    """The counter cannot be reached, so nothing is allowed."""


def count_code_try(*, request: HttpRequest) -> None:
    """Count a try for the request's user and for its address. Raises TooManyTries or CannotCount.

    An IPv6 address counts with its /64.
    """
    limits: list[tuple[Any, str]] = [
        ("user", settings.CODE_TRIES_PER_USER),
        (lambda _group, asked: client_network(asked), settings.CODE_TRIES_PER_ADDRESS),
    ]
    usages = [get_usage(request, group="codes", key=key, rate=rate, increment=True) for key, rate in limits]
    # None: django-ratelimit is switched off or fails open. That setting is meant for other pages, not for codes.
    if any(usage is None or usage["time_left"] < 0 for usage in usages):
        raise CannotCount
    waits = [usage["time_left"] for usage in usages if usage["should_limit"]]
    if waits:
        raise TooManyTries(wait_seconds=max(1, *waits))
