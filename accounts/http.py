"""The request that views behind a log-in get, and how streaming views query."""

from collections.abc import Callable
from typing import TypeVar

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import connection
from django.http import HttpRequest
from django_htmx.middleware import HtmxDetails

from accounts.addresses import find_client, place_of
from accounts.models import User


class Request(HttpRequest):
    """A request of somebody who is logged in; `htmx` is set by its middleware."""

    user: User
    htmx: HtmxDetails


T = TypeVar("T")


def client_address(request: HttpRequest) -> str:
    """The address a request came from; X-Forwarded-For is believed from TRUSTED_PROXIES alone."""
    peer = request.META.get("REMOTE_ADDR") or "unknown"
    return find_client(peer, request.META.get("HTTP_X_FORWARDED_FOR", ""), settings.TRUSTED_PROXIES)


def client_place(request: HttpRequest) -> str:
    """What a request is counted by before anybody logs in: its IPv4 address, or the /64 of its IPv6 address."""
    return place_of(client_address(request))


async def in_thread(function: Callable[[], T]) -> T:
    """Run a query in the request's thread and give its connection back at once: a stream may last minutes."""

    def run() -> T:
        try:
            return function()
        finally:
            connection.close()

    return await sync_to_async(run)()
