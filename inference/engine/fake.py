"""An engine without a model, for fast tests and fault injection. It has the interface of `base`."""

import math
import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path

from inference.engine.base import MAX_TOP_LOGPROBS, Candidate, Delta, EngineError, EngineRequest, FinishReason
from inference.engine.shown_tokens import ShownTokens, StepLogprobs
from inference.engine.text import Shown

WORDS = ["The", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog", "and", "then", "rests."]


class FakeEngine:
    """Writes a fixed sentence again and again; each word is one token.

    `step_seconds` is the time per token. `fails_at` is the number of the token at which every request ends with
    EngineError. `length` is the number of tokens after which an answer ends by itself.
    """

    def __init__(
        self,
        _folder: Path | None = None,
        threads: int = 0,
        _precision: str = "auto",
        *,
        cache_tokens: int = 32_768,
        step_seconds: float = 0.0,
        fails_at: int | None = None,
        length: int = 1_000_000,
    ) -> None:
        self.threads = threads
        self.cache_tokens = cache_tokens
        self.step_seconds = step_seconds
        self.fails_at = fails_at
        self.length = length
        self._cancelled: dict[str, threading.Event] = {}
        self._is_closed = False

    def write(self, request: EngineRequest, on_delta: Callable[[Delta], None]) -> FinishReason:
        """See `Engine.write`. Everything happens in the calling thread."""
        finish_reason: FinishReason = "length"
        with closing(self.deltas(request)) as deltas:
            for delta in deltas:
                on_delta(delta)
                finish_reason = delta.finish_reason or finish_reason
        return finish_reason

    def deltas(self, request: EngineRequest) -> Generator[Delta, None, None]:
        """Yield the answer, one word per step. Raises EngineError."""
        cancelled = self._cancelled[request.id] = threading.Event()
        shown = Shown(request.stop, trims=request.trims_start)
        listed = None if request.top_logprobs is None else ShownTokens(_FakeWords(), request.top_logprobs)

        def delta(text: str, count: int, finish_reason: FinishReason | None = None) -> Delta:
            return Delta(text, count, finish_reason, listed.take(shown.left_out, len(text)) if listed else ())

        started = time.monotonic()
        try:
            for count in range(1, request.max_tokens + 1):
                if self.step_seconds:  # a sleep of 0 would release the interpreter lock and wait to get it back
                    time.sleep(self.step_seconds)
                if cancelled.is_set():
                    yield delta(shown.flush(), count - 1, "cancelled")
                    return
                if self._is_closed or count == self.fails_at:
                    raise EngineError("the fake engine was told to fail")
                if request.max_seconds is not None and time.monotonic() - started > request.max_seconds:
                    raise EngineError("It took too long.")
                word = WORDS[(count - 1) % len(WORDS)] + " "
                if listed is not None:
                    listed.add(_logprobs(count - 1), len(word))
                text = shown.push(word)
                if shown.is_stopped or count == self.length:
                    yield delta(text + shown.flush(), count, "stop")
                    return
                if count == request.max_tokens:
                    yield delta(text + shown.flush(), count, "length")
                    return
                yield delta(text, count)
        finally:
            self._cancelled.pop(request.id, None)

    def cancel(self, request_id: str) -> None:
        if (cancelled := self._cancelled.get(request_id)) is not None:
            cancelled.set()

    def is_alive(self) -> bool:
        return not self._is_closed

    def close(self) -> None:
        self._is_closed = True


class _FakeWords:
    """See `shown_tokens.Words`. A token id is the index of a word."""

    def candidate(self, token_id: int, logprob: float) -> Candidate:
        word = WORDS[token_id] + " "
        return Candidate(word, logprob, word.encode())


def _logprobs(position: int) -> StepLogprobs:
    """The word at this position has probability 1/2; each next word in WORDS has half of the one before."""
    best = [(position + step) % len(WORDS) for step in range(min(len(WORDS), MAX_TOP_LOGPROBS))]
    logprobs = [(step + 1) * math.log(0.5) for step in range(len(best))]
    return [best[0], *best], [logprobs[0], *logprobs]
