"""Writes the relay: the text of all answers of a process, as it is produced, in shared round trips to Redis."""

import json
import logging
import threading
import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID
from weakref import WeakSet

import redis
from django.conf import settings

from inference.relay import streams as relay_streams
from inference.relay.streams import stream_key

logger = logging.getLogger(__name__)

Entry = dict[str, str | int]


STREAMS_A_ROUND = 64


END_SECONDS = 10.0  # how long `end` waits for its entry: longer than the time-outs of a Redis that is away


class RelayWriter:
    """Writes one generation's stream. Text that comes within a few tens of milliseconds becomes one entry."""

    def __init__(self, generation_id: UUID) -> None:
        self.key = stream_key(generation_id)
        self.is_new = True  # the stream has no expiry time yet
        self.due_at = 0.0
        self.ended = threading.Event()
        self._text = ""
        self._at = 0
        self._tokens = 0
        self._logprobs: list[Any] = []
        self._logprobs_at = 0
        self._notice = ""
        self._state = ""
        _outbox.writers.add(self)

    def write(self, text: str, tokens: int, logprobs: Sequence[Any] = ()) -> None:
        """Add text and the log probabilities of its tokens to the next entry. `tokens` is the count so far."""
        if text:
            with _outbox.changed:
                self._text += text
                self._tokens = tokens
                self._logprobs += logprobs
                _outbox.put(self)

    def notice(self, text: str) -> None:
        """Send a notice that tells readers what the answer waits for."""
        with _outbox.changed:
            self._notice = text
            _outbox.put(self)

    def end(self, state: str) -> None:
        """Write the last entry, with the remaining text and `state`, and let the stream expire.

        Returns when the entry was sent, when sending it failed, or after END_SECONDS.
        """
        with _outbox.changed:
            self._state = state
            self.due_at = 0.0
            _outbox.put(self)
        self.ended.wait(END_SECONDS)

    def take(self) -> Entry:
        """Remove and return the content of the next entry. The caller has locked the outbox."""
        entry: Entry = {}
        if self._text:
            entry |= {"text": self._text, "at": self._at, "tokens": self._tokens}
        if self._logprobs:
            entry |= {"logprobs": json.dumps(self._logprobs), "logprobs_at": self._logprobs_at}
        if self._notice:
            entry["notice"] = self._notice
        if self._state:
            entry["state"] = self._state
        self._at += len(self._text)
        self._logprobs_at += len(self._logprobs)
        self._text, self._logprobs, self._notice = "", [], ""
        return entry

    def give_back(self, entry: Entry) -> None:
        """Put an entry back that may not have been sent, for a later one. The caller has locked the outbox."""
        text = str(entry.get("text", ""))
        self._text = text + self._text
        self._at -= len(text)
        logprobs = json.loads(str(entry.get("logprobs", "[]")))
        self._logprobs = logprobs + self._logprobs
        self._logprobs_at -= len(logprobs)
        self._notice = self._notice or str(entry.get("notice", ""))


class _Outbox:
    """The entries that the writers of this process want to send. One thread sends many of them in each round trip.

    With hundreds of streams, a round trip for each entry would cost more than generating the answers (docs/adr/0017).
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.writers: WeakSet[RelayWriter] = WeakSet()  # of all answers that are being written
        self._waiting: dict[RelayWriter, None] = {}  # in the order they came
        self._thread: threading.Thread | None = None
        self._round_began = 0.0

    def put(self, writer: RelayWriter) -> None:
        """Have a writer's entry sent when it is due. The caller has locked the outbox."""
        if self._thread is None or not self._thread.is_alive():  # a process that was forked has none
            self._thread = threading.Thread(target=self._work, name="relay-outbox", daemon=True)
            self._thread.start()
        is_first = not self._waiting
        self._waiting[writer] = None
        if is_first or not writer.due_at:
            self.changed.notify()

    def _work(self) -> None:
        while True:
            with self.changed:
                entries = self._take_due()
            try:
                _send(entries)
            except Exception as error:  # all streams of this process need this thread, so it must go on
                is_away = isinstance(error, redis.RedisError)
                level = logging.WARNING if is_away else logging.ERROR
                logger.log(level, "relay: nothing is sent (%s), the answers go on", error, exc_info=not is_away)
                with self.changed:
                    self._keep(entries)
            for writer, entry in entries:
                if "state" in entry:
                    writer.ended.set()
            time.sleep(settings.RELAY_PAUSE_SECONDS)

    def _take_due(self) -> "list[tuple[RelayWriter, Entry]]":
        """Wait until entries are due, and take them all. The caller has locked the outbox."""
        while not (due := self._due()):
            next_at = min((writer.due_at for writer in self._waiting), default=None)
            self.changed.wait(None if next_at is None else max(0.0, next_at - time.monotonic()))
        if all(writer.due_at for writer in due):  # the texts of one decode step come one by one; send them together
            self.changed.wait(settings.RELAY_PAUSE_SECONDS)
            due = self._due()
        due_at = self._next_due_at()
        for writer in due:
            del self._waiting[writer]
            writer.due_at = due_at
        return [(writer, entry) for writer in due if (entry := writer.take())]

    def _due(self) -> "list[RelayWriter]":
        now = time.monotonic()
        return [writer for writer in self._waiting if writer.due_at <= now]

    def _next_due_at(self) -> float:
        """When the streams that send an entry now may send the next one, in seconds of the monotonic clock.

        The streams of a round send together, so that readers wake up once. Many streams are split into several rounds:
        otherwise the entries of one round would keep readers from their other work.
        """
        now, streams = time.monotonic(), len(self.writers)
        shared = min(streams / settings.RELAY_ENTRIES_PER_SECOND, settings.RELAY_LONGEST_PAUSE_SECONDS)
        pause = max(settings.RELAY_COALESCE_SECONDS, shared)
        rounds = 1 + streams // STREAMS_A_ROUND
        if now >= self._round_began + pause / rounds:
            self._round_began = now
        return self._round_began + pause

    def _keep(self, entries: "list[tuple[RelayWriter, Entry]]") -> None:
        """Send these entries again later, except those of ended answers: readers find these in the database."""
        for writer, entry in entries:
            if "state" not in entry:
                writer.give_back(entry)
                writer.due_at = time.monotonic() + 1.0
                self._waiting[writer] = None


_outbox = _Outbox()


def _send(entries: "list[tuple[RelayWriter, Entry]]") -> None:
    if not entries:
        return
    # In one transaction: otherwise Redis would wake a reader for the first entry, and it would read again for the rest.
    with relay_streams.connection().pipeline(transaction=True) as pipeline:
        for writer, entry in entries:
            pipeline.xadd(writer.key, entry)  # type: ignore[arg-type]
            if "state" in entry:
                pipeline.expire(writer.key, settings.RELAY_AFTER_END_SECONDS)
            elif writer.is_new:
                pipeline.expire(writer.key, settings.RELAY_LIFETIME_SECONDS)
        pipeline.execute()
    for writer, _entry in entries:
        writer.is_new = False
