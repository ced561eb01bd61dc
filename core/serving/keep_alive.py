"""Comment lines that keep the connection of a silent event stream open.

A stream is silent while its answer waits in the queue, for its model, or for a long prompt to be read. Proxies between
Tally and the client close idle connections: nginx after 60 seconds, others sooner. In server-sent events, a line that
begins with a colon is a comment, which every client skips.
"""

import asyncio
from typing import Any

KEEP_ALIVE_SECONDS = 3.0  # of silence, before a comment is sent
COMMENT = b": keep-alive\n\n"
EVENT_STREAM = b"text/event-stream"


class KeepAlive:
    """The ASGI `send` of one response. An event stream gets comments while it is silent; other responses do not."""

    def __init__(self, send: Any) -> None:
        self._send = send
        self._turn = asyncio.Lock()  # so that no comment lands inside an event that is being sent in pieces
        self._is_between_events = True
        self._moved_at = 0.0
        self._comments: asyncio.Task[None] | None = None

    async def send(self, message: Any) -> None:
        """Send a message of the handler."""
        if self._comments is None:
            await self._send(message)
            if message["type"] == "http.response.start" and _is_event_stream(message):
                self._moved_at = asyncio.get_running_loop().time()
                self._comments = asyncio.create_task(self._comment_for_ever())
            return
        if not message.get("more_body"):
            self.stop()
        async with self._turn:
            await self._send(message)
            if body := message.get("body"):
                self._is_between_events = body.endswith(b"\n\n")
            self._moved_at = asyncio.get_running_loop().time()

    def stop(self) -> None:
        """Send no more comments: the response has ended, or the client has disconnected."""
        if self._comments is not None:
            self._comments.cancel()

    async def _comment_for_ever(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._moved_at + KEEP_ALIVE_SECONDS - loop.time())
            async with self._turn:
                if loop.time() < self._moved_at + KEEP_ALIVE_SECONDS:
                    continue
                if self._is_between_events:
                    await self._send({"type": "http.response.body", "body": COMMENT, "more_body": True})
                self._moved_at = loop.time()


def _is_event_stream(message: Any) -> bool:
    kinds = [value for name, value in message.get("headers", []) if name.lower() == b"content-type"]
    return any(kind.lower().startswith(EVENT_STREAM) for kind in kinds)
