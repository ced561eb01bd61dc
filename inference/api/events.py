"""Streams one answer to a program as server-sent events of JSON.

Events: `status` (the state, and the place in the queue), `text` (the added text, and the tokens so far), `done` (the
whole generation). The id of a `text` event is a place in the answer: a client that reconnects with it in
`Last-Event-ID` misses nothing and gets nothing twice. If the client leaves, the answer still goes on until it ends or
is cancelled.
"""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import Any
from uuid import UUID

from inference.api.serializers import GenerationOut
from inference.generations.queue import find_place
from inference.models import Generation, GenerationState
from inference.relay import streams
from inference.relay.following import follow_to_end, read_patiently


async def stream_generation(generation_id: UUID, last_event_id: str) -> AsyncGenerator[bytes]:
    """Yield the events after `last_event_id`; all events if it is not an id of ours."""
    after = last_event_id if streams.is_entry_id(last_event_id) else streams.BEGINNING
    waiting = await read_patiently(partial(_look, generation_id))
    sent = ""
    if waiting:
        yield _event("status", waiting)
        async with aclosing(follow_to_end(generation_id, _look, after)) as batches:
            async for chunks, found in batches:
                text = "".join(chunk.text for chunk in chunks).replace("\x00", "")  # PostgreSQL keeps no NUL either
                if text:
                    sent += text
                    yield _event("text", {"text": text, "completion_tokens": chunks[-1].tokens}, chunks[-1].id)
                    continue
                before, waiting = waiting, found or await read_patiently(partial(_look, generation_id))
                if waiting and waiting != before:
                    yield _event("status", waiting)
    ended = await read_patiently(partial(_describe, generation_id))
    whole = str(ended["text"])
    if after == streams.BEGINNING and whole.startswith(sent) and whole != sent:  # the relay was away, or has expired
        yield _event("text", {"text": whole[len(sent) :], "completion_tokens": ended["completion_tokens"]})
    yield _event("done", ended)


def _look(generation_id: UUID) -> dict[str, Any] | None:
    """The `status` event of a live answer; None if it has ended."""
    generation = Generation.objects.get(pk=generation_id)
    if not generation.is_live:
        return None
    if generation.state != GenerationState.QUEUED:
        return {"state": generation.state}
    place = find_place(generation)
    return {"state": generation.state, "ahead": place.ahead, "wait_seconds": place.wait_seconds}


def _describe(generation_id: UUID) -> dict[str, Any]:
    return dict(GenerationOut(Generation.objects.select_related("hold").get(pk=generation_id)).data)


def _event(name: str, data: dict[str, Any], event_id: str = "") -> bytes:
    head = f"event: {name}\n" + (f"id: {event_id}\n" if event_id else "")
    return f"{head}data: {json.dumps(data, default=str)}\n\n".encode()
