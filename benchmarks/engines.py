"""Engines for load, named in INFERENCE_ENGINE of a stack that is measured."""

import threading
import time
from collections.abc import Callable, Generator
from itertools import islice
from pathlib import Path
from typing import Any

from inference.engine import batching
from inference.engine.base import Delta, EngineRequest, FinishReason
from inference.engine.fake import FakeEngine
from inference.engine.precision import Precision

TOKENS_A_SECOND = 30


class ThirtyTokensASecond(FakeEngine):
    """30 tokens a second for each request, however many there are: who is late gets several at once, as on a GPU.

    One thread writes all of them in steps, as the real engine does.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._paced: dict[str, _Paced] = {}
        self._changed = threading.Condition()
        threading.Thread(target=self._go_on, name="engine-steps", daemon=True).start()

    def write(self, request: EngineRequest, on_delta: Callable[[Delta], None]) -> FinishReason:
        """See `Engine.write`."""
        paced = _Paced(self.deltas(request), on_delta)
        with self._changed:
            self._paced[request.id] = paced
            self._changed.notify()
        return paced.wait()

    def _go_on(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._paced)
                running = list(self._paced.items())
            next_at = time.monotonic() + 1 / TOKENS_A_SECOND
            for name, paced in running:
                if paced.go_on():
                    del self._paced[name]
            time.sleep(max(0.0, next_at - time.monotonic()))


class _Paced:
    """One answer of ThirtyTokensASecond."""

    def __init__(self, deltas: Generator[Delta, None, None], on_delta: Callable[[Delta], None]) -> None:
        self._deltas = deltas
        self._on_delta = on_delta
        self._started = time.monotonic()
        self._written = 0
        self._finish_reason: FinishReason | None = None
        self._error: Exception | None = None
        self._has_ended = threading.Event()

    def go_on(self) -> bool:
        """Write the tokens that are due; True at the end."""
        due = int((time.monotonic() - self._started) * TOKENS_A_SECOND) - self._written
        try:
            new = list(islice(self._deltas, due))
            if new:
                self._written += due
                self._finish_reason = new[-1].finish_reason
                text = "".join(delta.text for delta in new)
                self._on_delta(Delta(text, new[-1].completion_tokens, self._finish_reason))
        except Exception as error:  # noqa: BLE001  it is raised where somebody waits for this answer
            self._error = error
        if self._finish_reason or self._error:
            self._deltas.close()
            self._has_ended.set()
        return self._has_ended.is_set()

    def wait(self) -> FinishReason:
        """Returns at the end why it came."""
        self._has_ended.wait()
        if self._finish_reason is None:
            raise self._error or AssertionError("an answer ended without a reason")
        return self._finish_reason


class EndlessEngine(batching.BatchingEngine):
    """The real engine, whose answers run to their full length, so that all contenders write as much."""

    def __init__(
        self, folder: Path, threads: int = 0, precision: Precision = "auto", *, cache_tokens: int = 32_768
    ) -> None:
        """As the worker makes engines."""
        batching.STOP_TOKEN_IDS = []
        super().__init__(folder, threads, precision, cache_tokens=cache_tokens)
