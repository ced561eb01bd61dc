"""Limits of one user's expensive requests to pages: estimates, searches, files, streams.

Redis counts them per minute, beside the API's counters and for all processes together. While Redis is away, nothing is
limited here; credits still limit what costs credits.
"""

import time
from collections.abc import Callable
from functools import wraps
from typing import Any, cast

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django_htmx.http import reswap, retarget

from accounts.callers.requests import Request
from core.async_queries import in_thread
from core.rest.throttles import count_in_minute

View = Callable[..., Any]
Condition = Callable[[HttpRequest], bool]


def limited(what: str, is_counted: Condition) -> Callable[[View], View]:
    """Decorate a view in urls.py: beyond PAGE_LIMITS[what] requests of one user per minute, it answers 429.

    `is_counted` says which requests count.
    """

    def decorate(view: View) -> View:
        if iscoroutinefunction(view):

            @wraps(view)
            async def handle_async(request: HttpRequest, *args: Any, **path: Any) -> HttpResponseBase:
                refused = await in_thread(lambda: _refuse(request, what, is_counted))
                return refused or cast(HttpResponseBase, await view(request, *args, **path))

            return handle_async

        @wraps(view)
        def handle(request: HttpRequest, *args: Any, **path: Any) -> HttpResponseBase:
            return _refuse(request, what, is_counted) or cast(HttpResponseBase, view(request, *args, **path))

        return handle

    return decorate


def _refuse(request: HttpRequest, what: str, is_counted: Condition) -> HttpResponse | None:
    """Count one request. Return the 429 if it is one too many, else None."""
    if not request.user.is_authenticated or not is_counted(request):
        return None
    now = int(time.time())
    counts = count_in_minute([f"page:{what}:{request.user.pk}"], 1, now)
    if counts is None or counts[0] <= settings.PAGE_LIMITS[what]:
        return None
    return answer_too_often(request, 60 - now % 60)


def answer_too_often(request: HttpRequest, wait: int) -> HttpResponse:
    """The 429 of the pages, which says to wait `wait` seconds. For htmx it is a fragment beside the composer."""
    is_part = bool(cast(Request, request).htmx)
    answer = render(request, "_too_often.html" if is_part else "429.html", {"seconds": wait}, status=429)
    answer["Retry-After"] = str(wait)
    return reswap(retarget(answer, "#compose-error"), "innerHTML") if is_part else answer
