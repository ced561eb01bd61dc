"""uvicorn's HTTP protocol with limits on the head of a request, and the gunicorn worker that uses it.

uvicorn waits without limit for the rest of a request's head, and accepts headers of any size. nginx in front of it
limits both; with this protocol, a server without nginx is as safe.

uvicorn also loses the body of a request that offers to change to another protocol. Java's HttpClient and `curl --http2`
offer HTTP/2 with every request in plain text (`Upgrade: h2c`). Tally ignores the offer, as RFC 9110 (7.8) allows, and
answers the request as any other.
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
    """A parser that tells its protocol when a request offers to change to another protocol.

    httptools stops parsing there: it assumes that all following bytes, the body too, belong to the other protocol.
    """

    def __init__(self, protocol: "PatientProtocol") -> None:
        super().__init__(protocol)
        self.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn sets it for its own
        self._protocol = protocol

    def feed_data(self, data: Any) -> None:
        """Parse these bytes. At an offer, the protocol gets the rest of them."""
        try:
            super().feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._protocol.ignore_offer(data[offer.args[0] :])


class PatientProtocol(HttpToolsProtocol):
    """Refuses a request whose head is late or too large, and closes its connection.

    It never changes to another protocol.
    """

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
        """See `asyncio.Protocol`. The time-out between two requests is uvicorn's own."""
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
        """Take a field of the head; fields after a chunked body are ignored. Called by the parser."""
        if not self._has_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is complete. Refuse it, or handle the request. Called by the parser."""
        self._lose_patience()
        self._has_head = True
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > MOST_HEAD_BYTES:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif self.parser.get_method() == b"CONNECT":  # only proxies serve it
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
        """Parse the request again without its offer, and then `rest`, the bytes that followed its head."""
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
        if self.cycle is not None and not self.cycle.response_complete:  # the previous answer is still sent
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
    """The worker class for gunicorn's option -k."""

    # uvicorn must not read proxy headers: TRUSTED_PROXIES says which proxies count (core/client_addresses.py).
    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {"loop": "auto", "http": PatientProtocol, "proxy_headers": False}

    def init_signals(self) -> None:
        """Let SIGTERM end the process as an ordinary exit.

        After the last answer, uvicorn raises the signal that stopped it again. An ordinary exit still runs the exit
        handlers, which record what was delivered at the last moment (inference/generations/deliveries.py).
        """
        super().init_signals()
        signal.signal(signal.SIGTERM, _exit)


def _exit(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(0)
