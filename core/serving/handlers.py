"""Which of Django's handlers serves which path.

Under /v1/ every view is a coroutine that manages its own database connections, and needs no session, language or
messages. Behind the pages' middleware, each such request would start a thread to run hooks that do nothing for it. That
costs more than the answer itself (docs/adr/0016).
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

from asgiref.sync import sync_to_async
from corsheaders.middleware import CorsMiddleware
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.core.handlers.exception import convert_exception_to_response
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.middleware.security import SecurityMiddleware
from django.urls import set_script_prefix

from core.rest.middleware import api_middleware
from core.serving.bodies import Body, ClientLeft
from core.serving.keep_alive import KeepAlive
from core.serving.paths import OPENAI, path_meant

COROUTINE_PATHS = OPENAI
_security = SecurityMiddleware(lambda _request: HttpResponse())  # only its hooks are used; they never block

# Called with each request, its response, and the seconds until the response began. They must not block or raise.
observers: list[Callable[[HttpRequest, HttpResponseBase, float], None]] = []


class _Handler(ASGIHandler):
    """What both handlers have in common."""

    async def run_get_response(self, request: Any) -> Any:
        """Return the response. For a HEAD request, a streaming response is returned without its content.

        Otherwise the view would produce the stream, perhaps for minutes, although a HEAD response has no body.
        """
        began = time.perf_counter()
        response: Any = await super().run_get_response(request)
        for observe in observers:
            observe(request, response, time.perf_counter() - began)
        if request.method == "HEAD" and response.streaming:
            response.streaming_content = _nothing()
        return response


async def _nothing() -> AsyncIterator[bytes]:
    for piece in list[bytes]():
        yield piece


class CoroutineHandler(_Handler):
    """Serves paths whose views are coroutines. No signals are sent, no thread is used."""

    def load_middleware(self, is_async: bool = True) -> None:  # noqa: ARG002  Django passes it
        """Load the API's own middleware, CORS, and the headers of Django's security middleware."""
        self._view_middleware: list[Any] = []
        self._template_response_middleware: list[Any] = []
        self._exception_middleware: list[Any] = []
        view: Any = convert_exception_to_response(getattr(self, "_get_response_async"))  # noqa: B009  not in the types
        answer: Any = CorsMiddleware(cast(Any, api_middleware(view)))

        async def secure(request: HttpRequest) -> HttpResponseBase:
            refused = _security.process_request(request)
            return _security.process_response(request, refused or await answer(request))

        self._middleware_chain = convert_exception_to_response(secure)

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request. If the client disconnects, its view is cancelled."""
        try:
            body = await self.read_body(receive)
        except RequestAborted:
            return
        with body:
            set_script_prefix(get_script_prefix(scope))
            request, refused = self.create_request(scope, body)
            if refused is not None:
                await self.send_response(refused, send)
                return
            answering = asyncio.create_task(self._answer(request, send))
            leaving = asyncio.create_task(self.listen_for_disconnect(receive))
            try:
                await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
            finally:
                answering.cancel()
                leaving.cancel()
                await asyncio.gather(leaving, return_exceptions=True)
            with contextlib.suppress(asyncio.CancelledError):  # the client disconnected
                await answering

    async def _answer(self, request: Any, send: Any) -> None:
        response = await self.run_get_response(request)
        try:
            await self.send_response(response, send)
        finally:  # also if the client disconnected meanwhile
            response.close()


class PagesHandler(_Handler):
    """Serves all other paths: one thread runs the middleware and the view of a request."""

    def load_middleware(self, is_async: bool = True) -> None:  # noqa: ARG002  Django passes it
        """Load MIDDLEWARE as a chain of functions, as on a WSGI server.

        In a chain of coroutines, each of Django's middlewares would hand the request to a thread twice.
        """
        super().load_middleware(is_async=False)
        chain: Any = self._middleware_chain  # type: ignore[has-type]
        self._middleware_chain = sync_to_async(chain, thread_sensitive=True)

    async def run_get_response(self, request: Any) -> Any:
        """Return the response. If the client disconnects before that, the response is closed, for example its file.

        The thread cannot be stopped and makes the response all the same, but Django has forgotten it by then.
        """
        running = asyncio.ensure_future(super().run_get_response(request))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            response = await running
            await sync_to_async(response.close, thread_sensitive=True)()
            raise


class Dispatcher:
    """The ASGI application: prepares each request, and passes it to the handler of its path."""

    def __init__(self) -> None:
        self._pages, self._coroutines = PagesHandler(), CoroutineHandler()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Read the body, and hand the request to its handler."""
        if scope["type"] != "http":
            await self._pages(scope, receive, send)  # Django refuses it
            return
        scope = scope | {"path": path_meant(scope["path"])}
        alive = KeepAlive(send)
        body = Body(scope, receive, alive.send)
        handler = self._coroutines if scope["path"].startswith(COROUTINE_PATHS) else self._pages
        try:
            await body.read()
            await handler(body.scope, body.receive, body.send)
        except ClientLeft:
            return
        finally:
            alive.stop()
