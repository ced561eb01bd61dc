"""The request that is being answered, for what must note where a change came from: its address and its id.

Tasks and commands have none.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, cast
from uuid import uuid4

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

from core.addresses import is_address
from core.client_addresses import client_address

_current: ContextVar[HttpRequest | None] = ContextVar("tally_current_request", default=None)
_GOOD_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


@sync_and_async_middleware
def current_request_middleware(get_response: Any) -> Any:
    """Remember each request while it is answered."""
    if iscoroutinefunction(get_response):

        async def answer_async(request: HttpRequest) -> HttpResponseBase:
            with _remembered(request):
                return cast(HttpResponseBase, await get_response(request))

        return answer_async

    def answer(request: HttpRequest) -> HttpResponseBase:
        with _remembered(request):
            return cast(HttpResponseBase, get_response(request))

    return answer


@contextmanager
def _remembered(request: HttpRequest) -> Iterator[None]:
    token = _current.set(request)
    try:
        yield
    finally:
        _current.reset(token)


def current_address() -> str | None:
    """The address of the client whose request is answered; None outside of requests, and if it is not known."""
    request = _current.get()
    address = client_address(request) if request is not None else ""
    return address if is_address(address) else None


def current_request_id() -> str:
    """The id of the request that is answered: its own, the client's or proxy's, or a new one. Empty outside of one."""
    request: Any = _current.get()
    if request is None:
        return ""
    if not hasattr(request, "request_id"):
        sent = request.headers.get("X-Request-Id", "")
        request.request_id = sent if _GOOD_ID.fullmatch(sent) else uuid4().hex
    return str(request.request_id)
