"""Which of Django's handlers serves which path.

Under /v1/ every view is a coroutine that looks after its own database connections, and wants neither session, language
nor messages. Behind the pages' middleware each such request would start a thread of its own, to run hooks that do
nothing for it: more work than the answer itself (docs/adr/0016).
"""

import asyncio
import contextlib
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.core.handlers.exception import convert_exception_to_response
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.middleware.security import SecurityMiddleware
from django.urls import set_script_prefix

from accounts.api_middleware import PATHS as API_PATHS
from accounts.api_middleware import api_middleware

COROUTINE_PATHS = "/v1/"
BODY_SECONDS = 60.0  # for the whole body of a request
_security = SecurityMiddleware(lambda _request: HttpResponse())  # only its hooks are used, which never wait


class CoroutineHandler(ASGIHandler):
    """Serves paths whose views are coroutines. No signals are sent, no thread is used."""

    def load_middleware(self, is_async: bool = True) -> None:  # noqa: ARG002  Django passes it
        """The API's own middleware, and the headers of Django's security middleware."""
        self._view_middleware: list[Any] = []
        self._template_response_middleware: list[Any] = []
        self._exception_middleware: list[Any] = []
        view: Any = convert_exception_to_response(getattr(self, "_get_response_async"))  # noqa: B009  not in the types
        answer: Any = api_middleware(view)

        async def secure(request: HttpRequest) -> HttpResponseBase:
            refused = _security.process_request(request)
            return _security.process_response(request, refused or await answer(request))

        self._middleware_chain = convert_exception_to_response(secure)

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request; a client that leaves cancels its view."""
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
            with contextlib.suppress(asyncio.CancelledError):  # the client left
                await answering

    async def _answer(self, request: Any, send: Any) -> None:
        response = await self.run_get_response(request)
        try:
            await self.send_response(response, send)
        finally:  # also of a client that left meanwhile
            response.close()


class PagesHandler(ASGIHandler):
    """Serves all else: each request is one turn of one thread, through the middleware and the view."""

    def load_middleware(self, is_async: bool = True) -> None:  # noqa: ARG002  Django passes it
        """MIDDLEWARE, called as on a WSGI server.

        In a chain of coroutines each of Django's middlewares hands the request to a thread twice.
        """
        super().load_middleware(is_async=False)
        chain: Any = self._middleware_chain  # type: ignore[has-type]
        self._middleware_chain = sync_to_async(chain, thread_sensitive=True)


class Dispatcher:
    """The ASGI application."""

    def __init__(self) -> None:
        self._pages, self._coroutines = PagesHandler(), CoroutineHandler()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Hand each request to its handler."""
        is_coroutine = scope["type"] == "http" and scope["path"].startswith(COROUTINE_PATHS)
        if scope["type"] == "http":
            body = Body(scope, receive, send)
            receive, send = body.receive, body.send
        await (self._coroutines if is_coroutine else self._pages)(scope, receive, send)


class Body:
    """The body of a request as its handler receives it: no more than it may have, and in time.

    Of one that is too large nothing is kept: what says how large it is, is refused by its header, what does not, where
    its half is parsed. One that does not come is a 408, and then the client counts as gone. Whoever was answered before
    their body had ended is answered for the last time on this connection.
    """

    def __init__(self, scope: Any, receive: Any, send: Any) -> None:
        self._receive, self._send = receive, send
        headers = dict(scope["headers"])
        declared = headers.get(b"content-length", b"")
        is_api = scope["path"].startswith(API_PATHS)
        self._room = settings.API_BODY_BYTES if is_api else settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        self._is_too_large = declared.isdigit() and int(declared[:20]) > self._room
        self._has_ended = self._is_whole = False
        self._deadline = asyncio.get_running_loop().time() + BODY_SECONDS

    async def receive(self) -> Any:
        """The next message of ASGI."""
        if self._has_ended:
            return await self._wait_for_the_end()
        if self._is_too_large:
            self._has_ended = True
            return {"type": "http.request", "body": b"", "more_body": False}
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            await self.send({"type": "http.response.start", "status": 408, "headers": []})
            await self.send({"type": "http.response.body", "body": b""})
            return {"type": "http.disconnect"}
        self._room -= len(message.get("body", b""))
        if self._room < 0:
            self._has_ended = True
            return {"type": "http.request", "body": b"", "more_body": False}
        self._has_ended = self._is_whole = message["type"] != "http.request" or not message.get("more_body")
        return message

    async def send(self, message: Any) -> None:
        """Pass a message of the handler's on."""
        if message["type"] == "http.response.start" and not self._is_whole:
            message = message | {"headers": [*message.get("headers", []), (b"connection", b"close")]}
        await self._send(message)

    async def _wait_for_the_end(self) -> Any:
        """Until the client leaves; what it still sends is for nobody."""
        while (message := await self._receive())["type"] == "http.request":
            pass
        return message
