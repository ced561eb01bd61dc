"""The request that views behind a log-in get, and how streaming views query."""

from collections.abc import Callable
from typing import TypeVar

from asgiref.sync import sync_to_async
from django.db import connection
from django.http import HttpRequest
from django_htmx.middleware import HtmxDetails

from accounts.models import User


class Request(HttpRequest):
    """A request of somebody who is logged in; `htmx` is set by its middleware."""

    user: User
    htmx: HtmxDetails


T = TypeVar("T")


def client_address(request: HttpRequest) -> str:
    """The address a request came from, as uvicorn worked it out from its trusted proxies."""
    return request.META.get("REMOTE_ADDR") or "unknown"


async def in_thread(function: Callable[[], T]) -> T:
    """Run a query in the request's thread and give its connection back at once: a stream may last minutes."""

    def run() -> T:
        try:
            return function()
        finally:
            connection.close()

    return await sync_to_async(run)()
