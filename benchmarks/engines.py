"""Engines for load, named in INFERENCE_ENGINE of a stack that is measured."""

import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from inference.engine.base import Delta, EngineError, EngineRequest, FinishReason
from inference.engine.batching import BatchingEngine
from inference.engine.fake import FakeEngine
from inference.engine.precision import Precision

TOKENS_A_SECOND = 30


class ThirtyTokensASecond(FakeEngine):
    """30 tokens a second for each request, however many there are: who is late gets several at once, as on a GPU.

    One thread writes all of them in steps, as the real engine does.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._running: set[_Paced] = set()
        self._changed = threading.Condition()
        threading.Thread(target=self._step_until_closed, name="engine-steps", daemon=True).start()

    def write(self, request: EngineRequest, on_delta: Callable[[Delta], None]) -> FinishReason:
        """See `Engine.write`."""
        paced = _Paced(self.deltas(request), on_delta)
        with self._changed:
            if not self.is_alive():
                raise EngineError("the engine is closed")
            self._running.add(paced)
            self._changed.notify()
        return paced.end.result()

    def close(self) -> None:
        """See `Engine.close`."""
        super().close()
        with self._changed:
            self._changed.notify()

    def _step_until_closed(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._running or not self.is_alive())
                running = list(self._running)
            if not running:
                return
            next_at = time.monotonic() + 1 / TOKENS_A_SECOND
            for paced in running:
                paced.write_what_is_due()
                if paced.end.done():
                    self._running.discard(paced)
            time.sleep(max(0.0, next_at - time.monotonic()))


class _Paced:
    """One answer of ThirtyTokensASecond; `end` is why it ended, or the error that ended it."""

    def __init__(self, deltas: Generator[Delta, None, None], on_delta: Callable[[Delta], None]) -> None:
        self.end: Future[FinishReason] = Future()
        self._deltas = deltas
        self._on_delta = on_delta
        self._started = time.monotonic()
        self._written = 0

    def write_what_is_due(self) -> None:
        """The tokens of the time since the last step, in one delta."""
        due = int((time.monotonic() - self._started) * TOKENS_A_SECOND) - self._written
        self._written += due
        try:
            new = list(islice(self._deltas, due))
            finish_reason = new[-1].finish_reason if new else None
            if new:
                logprobs = tuple(entry for delta in new for entry in delta.logprobs)
                self._on_delta(replace(new[-1], text="".join(delta.text for delta in new), logprobs=logprobs))
        except Exception as error:  # noqa: BLE001  it is raised where somebody waits for this answer
            self._deltas.close()
            self.end.set_exception(error)
        else:
            if finish_reason:
                self._deltas.close()  # before somebody uses the id again
                self.end.set_result(finish_reason)


class EndlessEngine(BatchingEngine):
    """The real engine, whose answers run to their full length, so that all contenders write as much."""

    def __init__(
        self, folder: Path, threads: int = 0, precision: Precision = "auto", *, cache_tokens: int = 32_768
    ) -> None:
        """As the worker makes engines."""
        super().__init__(folder, threads, precision, cache_tokens=cache_tokens, ignores_stop_tokens=True)
