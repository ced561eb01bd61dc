"""Engines for load, named in INFERENCE_ENGINE of a stack that is measured."""

import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from inference.engine import batching
from inference.engine.base import Delta, EngineRequest
from inference.engine.fake import FakeEngine
from inference.engine.precision import Precision

TOKENS_A_SECOND = 30


class ThirtyTokensASecond(FakeEngine):
    """30 tokens a second for each request, however many there are: who is late gets several at once, as on a GPU."""

    def generate(self, request: EngineRequest) -> Iterator[Delta]:
        """See `Engine.generate`."""
        deltas, started, count = super().generate(request), time.monotonic(), 0
        while True:
            time.sleep(max(0.0, started + (count + 1) / TOKENS_A_SECOND - time.monotonic()))
            due = int((time.monotonic() - started) * TOKENS_A_SECOND)
            new = list(islice(deltas, max(1, due - count)))
            count = new[-1].completion_tokens
            yield Delta("".join(delta.text for delta in new), count, new[-1].finish_reason)
            if new[-1].finish_reason:
                return


class EndlessEngine(batching.BatchingEngine):
    """The real engine, whose answers run to their full length, so that all contenders write as much."""

    def __init__(
        self, folder: Path, threads: int = 0, precision: Precision = "auto", *, cache_tokens: int = 32_768
    ) -> None:
        """As the worker makes engines."""
        batching.STOP_TOKEN_IDS = []
        super().__init__(folder, threads, precision, cache_tokens=cache_tokens)
