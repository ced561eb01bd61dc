"""Engines for tests: given to a worker, or run inside a real one."""

import os
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from inference.catalogue import DEMO_KEY
from inference.engine.base import Delta, EngineRequest
from inference.engine.fake import FakeEngine
from inference.worker.contracts import ModelSource


def give_engine(worker: Any, engine: Any, key: str = DEMO_KEY) -> Any:
    """Let the worker answer with this engine as if it had loaded it."""
    worker.models.adopt(ModelSource(key, key), engine)
    return engine


def write(engine: Any, request: EngineRequest) -> list[Delta]:
    """All deltas of an answer. Raises what the engine raises."""
    deltas: list[Delta] = []
    finish_reason = engine.write(request, deltas.append)
    assert finish_reason == deltas[-1].finish_reason
    return deltas


class ReaderLeft(Exception):
    """What `on_delta` of `begin` raises."""


def begin(engine: Any, request: EngineRequest, left: threading.Event | None = None) -> Iterator[Delta]:
    """An answer that has begun, for a test that does something in between. Raises what the engine raises.

    Once `left` is set, the next delta meets an error of who gets it.
    """
    came: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def take(delta: Delta) -> None:
        if left is not None and left.is_set():
            raise ReaderLeft
        came.put(delta)

    def run() -> None:
        try:
            engine.write(request, take)
        except Exception as error:  # noqa: BLE001  it is raised where the test reads
            came.put(error)
        came.put(None)

    def rest() -> Iterator[Delta]:
        yield first
        while (delta := came.get(timeout=60)) is not None:
            if isinstance(delta, Exception):
                raise delta
            yield delta

    threading.Thread(target=run, daemon=True).start()
    first = came.get(timeout=60)
    return rest()


class SlowEngine(FakeEngine):
    """For worker processes of their own: a token takes STEP_SECONDS of the environment, loading LOADING_SECONDS."""

    def __init__(self, folder: Path, threads: int = 0, precision: str = "auto", *, cache_tokens: int = 32_768) -> None:
        import time

        time.sleep(float(os.environ.get("LOADING_SECONDS", "0")))
        super().__init__(
            folder,
            threads,
            precision,
            cache_tokens=cache_tokens,
            step_seconds=float(os.environ.get("STEP_SECONDS", "0.02")),
        )
