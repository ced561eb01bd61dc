"""A job: one answer in a worker process, and the ways in which it can end early."""

import threading
import time
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from inference.engine.base import Delta, Engine, EngineError
from inference.generations.logprobs import packed


class StoppedBeforeItBegan(Exception):
    """The customer pressed Stop while the model was loading: nothing was computed, nothing is charged."""


class HandedBack(Exception):
    """The worker shuts down before this answer began: another one writes it."""


@dataclass(slots=True, eq=False)
class Job:
    """One answer that this worker claimed, with the text it has so far.

    `stop` ends it because the customer asked for it; `abandon` because it was ended elsewhere, took too long, or the
    worker must end; `hand_back` leaves it to another worker before it began.
    """

    generation_id: UUID
    model_key: str
    user_id: int
    started: float = field(default_factory=time.monotonic)
    stopped: threading.Event = field(default_factory=threading.Event)
    abandoned_because: str = ""
    text: list[str] = field(default_factory=list)
    logprobs: list[Any] = field(default_factory=list)  # as `inference.generations.logprobs` keeps them
    completion_tokens: int = 0
    is_handed_back: bool = False
    token_times: tuple[float, float] | None = None  # seconds from `started` to the first and to the last token
    _engine: Engine | None = None
    _beginning: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, engine: Engine) -> None:
        """Note that this engine will write the answer now. Raises what `refuse_if_over` raises."""
        with self._beginning:
            self.refuse_if_over()
            self._engine = engine

    def refuse_if_over(self) -> None:
        """Raise HandedBack, EngineError or StoppedBeforeItBegan if the job was handed back, abandoned or stopped."""
        if self.is_handed_back:
            raise HandedBack
        if self.abandoned_because:
            raise EngineError(self.abandoned_because)
        if self.stopped.is_set():
            raise StoppedBeforeItBegan

    def add(self, delta: Delta) -> list[Any]:
        """Add what the engine wrote, and return its log probabilities in their stored format.

        If a stop came just before the engine knew the request, stop it now.
        """
        since_claim = time.monotonic() - self.started
        self.token_times = (self.token_times[0] if self.token_times else since_claim, since_claim)
        logprobs = packed(delta.logprobs)
        self.logprobs += logprobs
        self.text.append(delta.text)
        self.completion_tokens = delta.completion_tokens
        if self.stopped.is_set() and not delta.finish_reason:
            self.stop()
        return logprobs

    def stop(self) -> None:
        """Have the engine end the answer within a decode step. What was produced is charged."""
        with self._beginning:
            self.stopped.set()
            engine = self._engine
        if engine is not None:
            engine.cancel(str(self.generation_id))

    def abandon(self, why: str) -> None:
        """Have the engine end the answer within a decode step. Nothing is charged."""
        self.abandoned_because = why
        self.stop()

    def hand_back(self) -> None:
        """Leave it to another worker, unless the engine has begun."""
        with self._beginning:
            if self._engine is None:
                self.is_handed_back = True
                self.stopped.set()
