"""uvicorn's HTTP protocol with patience that ends, and the gunicorn worker that serves with it.

uvicorn waits for ever for the rest of a request that has begun, and takes headers of any size. nginx in front of it
limits both; whoever runs without one is as safe.

uvicorn also loses the body of a request that offers to change to another protocol. Java's HttpClient and `curl --http2`
offer HTTP/2 with every request in plain text (`Upgrade: h2c`). We change to none: the offer is ignored, as RFC 9110
(7.8) lets a server do, and the request is answered as any other.
"""

import asyncio
import signal
import sys
from http import HTTPStatus
from types import FrameType
from typing import Any, ClassVar

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn_worker import UvicornWorker

HEAD_SECONDS = 20.0  # from a connection, or the first byte of its next request, to the end of the head
MOST_HEAD_BYTES = 32_768


class _Parser(httptools.HttpRequestParser):
    """A parser that tells its protocol of an offer to change to another one.

    The parser itself ends there, and takes what follows, the body too, for the other protocol's.
    """

    def __init__(self, protocol: "PatientProtocol") -> None:
        super().__init__(protocol)
        self.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn sets it for its own
        self._protocol = protocol

    def feed_data(self, data: Any) -> None:
        """Parse these bytes, up to an offer."""
        try:
            super().feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._protocol.ignore_offer(data[offer.args[0] :])


class PatientProtocol(HttpToolsProtocol):
    """Closes a connection whose head does not come, or is too large, and says why. Changes to no other protocol."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.parser = _Parser(self)
        self._to_parse = b""
        self._head_bytes = 0
        self._has_head = False
        self._is_refused = False
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._be_patient()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose_patience()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`. Between two requests uvicorn has a time-out of its own."""
        if self._is_refused:
            return
        if self._patience is None and not self._has_head:
            self._be_patient()
        self._head_bytes += len(data)
        self._to_parse = data
        while self._to_parse and not self._is_refused:
            data, self._to_parse = self._to_parse, b""
            super().data_received(data)
        if not self._has_head and self._head_bytes > MOST_HEAD_BYTES:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head. Those after a chunked body are for nobody. Called by the parser."""
        if not self._has_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is there. Called by the parser."""
        self._lose_patience()
        self._has_head = True
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > MOST_HEAD_BYTES:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif self.parser.get_method() == b"CONNECT":  # for proxies
            self._refuse(HTTPStatus.METHOD_NOT_ALLOWED)
        elif not self.parser.should_upgrade():
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        if not self._is_refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The next bytes begin another request. Called by the parser."""
        self._has_head, self._head_bytes = False, 0
        if not self._is_refused and not self.parser.should_upgrade():
            super().on_message_complete()

    def ignore_offer(self, rest: bytes) -> None:
        """Parse the request anew as one that offers nothing, and then what followed its head."""
        line = b"%b %b HTTP/%b\r\n" % (
            self.parser.get_method(),
            self.url,
            self.parser.get_http_version().encode(),
        )
        fields = [b"%b: %b\r\n" % field for field in self.headers if field[0] != b"upgrade"]
        self.parser = _Parser(self)
        self._to_parse = b"".join([line, *fields, b"\r\n", rest])

    def _be_patient(self) -> None:
        self._patience = self.loop.call_later(HEAD_SECONDS, self._end_patience)

    def _end_patience(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:  # the answer to the request before is going out
            self._be_patient()
        else:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)

    def _lose_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _refuse(self, status: HTTPStatus) -> None:
        self._is_refused = True
        self._lose_patience()
        if not self.transport.is_closing():
            head = f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            self.transport.write(head.encode())
            self.transport.close()


class WebWorker(UvicornWorker):  # type: ignore[misc]
    """gunicorn's -k."""

    # Whom to believe about an address, TRUSTED_PROXIES says (core/client_addresses.py), not what uvicorn assumes.
    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {"loop": "auto", "http": PatientProtocol, "proxy_headers": False}

    def init_signals(self) -> None:
        """Once all is answered, uvicorn raises the signal that stopped it again. It ends the process as any other exit
        does, so that what was handed over at the last moment is noted (inference/generations/deliveries.py)."""
        super().init_signals()
        signal.signal(signal.SIGTERM, _exit)


def _exit(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(0)
