"""Reads and decompresses the whole body of a request, within limits of time and size, before its handler is called.

The handler gets an ordinary request with a correct `Content-Length`, whether the body was sent in chunks, compressed
or plain. Django and REST framework treat a request without that header as one without a body.
"""

import asyncio
import contextlib
import zlib
from typing import Any

from django.conf import settings

from core.rest.middleware import PATHS, REFUSED_BODY, BodyRefused
from core.rest.problems import BY_STATUS, Kind
from core.serving.headers import complete_headers

BODY_SECONDS = 60.0  # for the whole body of a request
DROPPED_BYTES = 250_000_000  # of a refused body that are read all the same, so that a browser shows the answer
IDLE_SECONDS = 3.0  # without another piece of a refused body; then it is answered as it is
TOO_LARGE = BY_STATUS[413]
UNKNOWN_CODING = Kind(
    415,
    "unsupported_content_encoding",
    "The body is compressed in a way that is not known here",
    "Send it as it is, or compressed with `Content-Encoding: gzip` or `deflate`.",
)
WRONG_CODING = Kind(
    400,
    "invalid_content_encoding",
    "The body is not what its Content-Encoding says",
    "Compress it anew, or send it as it is and without a `Content-Encoding` header.",
)
# zlib's `wbits` for each coding. A deflate body has zlib's header, but some clients send it without one.
_WINDOWS = {b"gzip": (31,), b"x-gzip": (31,), b"deflate": (15, -15)}


class ClientLeft(Exception):
    """The client has disconnected, so no answer can be sent."""


class Body:
    """The body of one request, and the ASGI `receive` and `send` that its handler gets.

    A refused body is dropped: the handler gets an empty one, and the reason in the scope. If an answer begins before
    the body was read to its end, the connection is closed after it, because nothing reads the rest of the body.
    """

    def __init__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        self._receive, self._send = receive, send
        self._headers = dict(scope["headers"])
        self._is_page = not scope["path"].startswith(PATHS)
        self._most_bytes = settings.DATA_UPLOAD_MAX_MEMORY_SIZE if self._is_page else settings.API_BODY_BYTES
        self._content = b""
        self._is_whole = self._is_given = False

    async def read(self) -> None:
        """Read the body, and change `scope` to that of a request with a plain body. Raises ClientLeft.

        A client whose body does not arrive in time is answered with 408, and then counts as disconnected.
        """
        try:
            async with asyncio.timeout(BODY_SECONDS):
                self._content = inflate(await self._read_whole(), self._coding(), self._most_bytes)
        except TimeoutError:
            await self.send({"type": "http.response.start", "status": 408, "headers": []})
            await self.send({"type": "http.response.body", "body": b""})
            raise ClientLeft from None
        except BodyRefused as refused:
            self.scope = self.scope | {REFUSED_BODY: refused}
            if self._is_page:
                await self._drop_rest()
        if b"transfer-encoding" in self._headers or b"content-encoding" in self._headers:
            self.scope = self.scope | {"headers": self._plain_headers()}

    async def receive(self) -> Any:
        """Return the next ASGI message: first the whole body, then the client's disconnect."""
        if not self._is_given:
            self._is_given = True
            return {"type": "http.request", "body": self._content, "more_body": False}
        while (message := await self._receive())["type"] == "http.request":
            pass  # the rest of a refused body is dropped
        return message

    async def send(self, message: Any) -> None:
        """Send a message of the handler, with the headers that every answer has."""
        if message["type"] == "http.response.start":
            headers = complete_headers(message.get("headers", []), message["status"])
            message = message | {"headers": headers if self._is_whole else [*headers, (b"connection", b"close")]}
        await self._send(message)

    async def _read_whole(self) -> bytes:
        declared = self._headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared[:20]) > self._most_bytes:
            raise _too_large(self._most_bytes)
        content = bytearray()
        while not self._is_whole:
            message = await self._receive()
            if message["type"] != "http.request":
                raise ClientLeft
            content += message.get("body", b"")
            if len(content) > self._most_bytes:
                raise _too_large(self._most_bytes)
            self._is_whole = not message.get("more_body")
        return bytes(content)

    async def _drop_rest(self) -> None:
        """Read on without keeping anything: while a browser still sends its form, it shows no answer."""
        dropped = int(self._headers.get(b"content-length", b"0")[:20] or 0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BODY_SECONDS):
                while not self._is_whole and dropped <= DROPPED_BYTES:
                    message = await asyncio.wait_for(self._receive(), IDLE_SECONDS)
                    if message["type"] != "http.request":
                        raise ClientLeft
                    dropped += 0 if b"content-length" in self._headers else len(message.get("body", b""))
                    self._is_whole = not message.get("more_body")

    def _coding(self) -> bytes:
        return bytes(self._headers.get(b"content-encoding", b"")).strip().lower()

    def _plain_headers(self) -> list[tuple[bytes, bytes]]:
        of_the_wire = (b"content-encoding", b"content-length", b"transfer-encoding")
        kept = [(name, value) for name, value in self.scope["headers"] if name not in of_the_wire]
        return [*kept, (b"content-length", str(len(self._content)).encode())]


def inflate(content: bytes, coding: bytes, most_bytes: int) -> bytes:
    """Return the decompressed content. Raises BodyRefused if it is larger than `most_bytes`, or the coding is wrong.

    Decompression stops just after `most_bytes`, so a small body cannot fill the memory.
    """
    if not content or coding in (b"", b"identity"):
        return content
    if coding not in _WINDOWS:
        detail = f"Content-Encoding {coding.decode('latin1')[:60]!r} is not supported. Use gzip, deflate or none."
        raise BodyRefused(UNKNOWN_CODING, detail, {"Accept-Encoding": "gzip, deflate"})
    for window in _WINDOWS[coding]:
        machine = zlib.decompressobj(window)
        try:
            plain = machine.decompress(content, most_bytes + 1)
        except zlib.error:
            continue
        if len(plain) > most_bytes:
            raise _too_large(most_bytes)
        if machine.eof and not machine.unused_data:
            return plain
    raise BodyRefused(WRONG_CODING, f"The body is not valid {coding.decode()}, or it is not whole.")


def _too_large(most_bytes: int) -> BodyRefused:
    return BodyRefused(TOO_LARGE, f"The body is too large: at most {most_bytes:,} bytes are taken, inflated.")
