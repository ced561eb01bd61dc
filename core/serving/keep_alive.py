"""Comment lines that keep a silent stream of events alive.

An answer that waits for its turn, for its model or for a long prompt to be read sends nothing, and whatever stands
between us and the client cuts connections on which nothing moves: nginx after 60 seconds, others after fewer. Lines
that begin with a colon are comments in the format of server-sent events: every client skips them.
"""

import asyncio
from typing import Any

KEEP_ALIVE_SECONDS = 3.0  # of silence, before a comment is sent
COMMENT = b": keep-alive\n\n"
EVENT_STREAM = b"text/event-stream"


class KeepAlive:
    """The sending end of one response. Streams of events get comments while they are silent, others pass."""

    def __init__(self, send: Any) -> None:
        self._send = send
        self._turn = asyncio.Lock()  # so that no comment lands inside an event that is being sent in pieces
        self._is_between_events = True
        self._moved_at = 0.0
        self._comments: asyncio.Task[None] | None = None

    async def send(self, message: Any) -> None:
        """Pass a message of the handler's on."""
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
        """The response has ended, or its client has left."""
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
