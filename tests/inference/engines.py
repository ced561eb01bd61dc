"""Engines for tests: given to a worker, or run inside a real one."""

import os
from pathlib import Path
from typing import Any

from inference.catalogue import DEMO_KEY
from inference.engine.fake import FakeEngine
from inference.manager import ModelSource


def give_engine(worker: Any, engine: Any, key: str = DEMO_KEY) -> Any:
    """Let the worker answer with this engine as if it had loaded it."""
    worker.models.adopt(ModelSource(key, key), engine)
    return engine


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
