"""The streamed answer as server-sent events of HTML, for htmx's SSE extension.

Events: `start` empties the answer for a reader who begins anew; `status` says what the customer waits for; `block` is
a finished block, which the page appends; `tail` is the block in progress, which the page replaces; `heard` is the
last block as words, for screen readers; `done` is the whole message with its receipt. An event's id is that of its
relay entry, so a browser that reconnects goes on where it was.
"""

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from typing import ParamSpec, TypeVar
from uuid import UUID

from django.contrib.humanize.templatetags.humanize import intcomma
from django.utils import translation
from django.utils.html import strip_tags
from django.utils.translation import gettext as _

from chat.markdown.streaming import StreamingMarkdown
from core.async_queries import in_thread
from core.postgresql.retrying import try_again_while_the_database_is_away
from inference.generations.queue import find_place
from inference.models import Generation, GenerationState
from inference.relay import streams
from inference.relay.following import follow_to_end

P = ParamSpec("P")
T = TypeVar("T")


async def stream_answer(
    generation_id: UUID, last_event_id: str, render_done: Callable[[], str], *, language: str
) -> AsyncGenerator[bytes]:
    """Yield the events after `last_event_id` until the answer has ended. It holds no database connection meanwhile.

    `render_done` renders the finished message; it runs in a thread and may query. `language` is the page's: where the
    events of an answer are made, no language is active.
    """
    events = _Events(last_event_id, _in_language(language, lambda: _("Loading the model…"))())
    status_of, rendered = _in_language(language, _status), _in_language(language, render_done)
    if not last_event_id:
        yield _event("start", "")
    async with aclosing(follow_to_end(generation_id, status_of)) as batches:
        async for chunks, status in batches:
            if any(chunk.state for chunk in chunks):
                break
            for event in events.of(chunks):
                yield event
            if status and not events.has_text:
                yield events.status(status)
    yield _event("heard", events.rest())
    yield _event("done", await in_thread(lambda: try_again_while_the_database_is_away(rendered)))


class _Events:
    """Turns relay entries into events, without those that the browser already has."""

    def __init__(self, last_event_id: str, loading: str) -> None:
        self._loading = loading
        self._seen = _parts(last_event_id)
        self._markdown = StreamingMarkdown()
        self._status = ""
        self.has_text = False
        self._tail = ""

    def of(self, chunks: list[streams.Chunk]) -> Iterator[bytes]:
        """The events of one batch of entries. `has_text` says whether the answer has begun."""
        new = [chunk for chunk in chunks if _parts(chunk.id) > self._seen]
        self._markdown.skip("".join(chunk.text for chunk in chunks if _parts(chunk.id) <= self._seen))
        text = "".join(chunk.text for chunk in new)
        self.has_text = self.has_text or any(chunk.text for chunk in chunks)
        if text:
            finished, tail = self._markdown.push(text)
            self._tail = tail
            yield self.status("")
            if finished:
                yield _event("block", finished)
            yield _event("tail", tail, new[-1].id)
        elif any(chunk.notice for chunk in new):
            yield self.status(self._loading)

    def rest(self) -> str:
        """The words of the last block, which is never finished by another one."""
        return strip_tags(self._tail)

    def status(self, text: str) -> bytes:
        """The event that says what the customer waits for; empty if that did not change."""
        if text == self._status:
            return b""
        self._status = text
        return _event("status", text)


def _status(generation_id: UUID) -> str | None:
    """What an answer waits for: its turn, then the model that reads the prompt. None if it has ended. Queries."""
    generation = Generation.objects.get(pk=generation_id)
    if not generation.is_live:
        return None
    if generation.state == GenerationState.QUEUED:
        return find_place(generation).describe()
    return _("Reading your prompt, {count} tokens").format(count=intcomma(generation.prompt_tokens))


def _in_language(language: str, function: Callable[P, T]) -> Callable[P, T]:
    """The same function, while this language is active."""

    def run(*words: P.args, **options: P.kwargs) -> T:
        with translation.override(language):
            return function(*words, **options)

    return run


def _parts(entry_id: str) -> tuple[int, int]:
    """A relay id, `<milliseconds>-<sequence>`, as two numbers to compare; (0, 0) for any other text."""
    if not streams.is_entry_id(entry_id):
        return 0, 0
    milliseconds, _dash, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence)


def _event(name: str, html: str, event_id: str = "") -> bytes:
    """One server-sent event. Each line of the data needs its own `data:`."""
    lines = "".join(f"data: {line}\n" for line in html.split("\n"))
    return f"event: {name}\n{f'id: {event_id}' + chr(10) if event_id else ''}{lines}\n".encode()
