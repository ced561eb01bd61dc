"""Keeps browsers and proxies from storing pages of a session: after a log-out, the Back button shows none of them.

And it keeps cookies off the pages that they may store (`public_pages`).
"""

from typing import Any, cast

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponseBase
from django.utils.cache import patch_cache_control
from django.utils.decorators import sync_and_async_middleware

from core.rest.middleware import Handler


@sync_and_async_middleware
def private_pages_middleware(get_response: Any) -> Handler:
    """Mark private answers with `Cache-Control: no-store`, and take the cookies off public ones.

    It stands before the middleware of the session, which answers a cookie that it cannot read with one more.
    """
    if iscoroutinefunction(get_response):

        async def handle_async(request: HttpRequest) -> HttpResponseBase:
            return _mark(request, cast(HttpResponseBase, await get_response(request)))

        return handle_async

    def handle(request: HttpRequest) -> HttpResponseBase:
        return _mark(request, cast(HttpResponseBase, get_response(request)))

    return handle


def _mark(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    """Mark an answer if its view read a session that is not empty. Static files and the API read none.

    This needs no query.
    """
    if getattr(response, "is_public", False):
        response.cookies.clear()
        return response
    is_private = request.session.accessed and not request.session.is_empty()
    if is_private and "no-store" not in response.headers.get("Cache-Control", ""):
        patch_cache_control(response, no_store=True, private=True)
    return response
