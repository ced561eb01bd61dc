"""The status of a GPU worker that does not run, as it would write it."""

import time
from typing import Any

from inference.worker.status import WorkerStatus, write_worker

NAME = "test"


def say_alive(*keys: str, **options: Any) -> None:
    """As if a GPU worker that serves these models had just been heard of."""
    figures: dict[str, Any] = {"pid": 4242, "device": "cpu", "is_stopping": False, "running": 0, "process_bytes": 0}
    figures |= {"budget_bytes": 0, "started_at": 0.0, "written_at": time.time()}
    write_worker(WorkerStatus(name=NAME, serves=list(keys), **{**figures, **options}))
