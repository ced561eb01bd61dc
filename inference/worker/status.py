"""The status of each GPU worker in Redis, for operators: its models, their memory, and how many answers it writes.

A worker writes its status into one key, which expires if it is not renewed, and its name into a sorted set, so that
reading needs no scan of the keys. While Redis is away, there is no status to see.
"""

import json
import logging
from dataclasses import asdict, dataclass, field

import redis
from django.conf import settings
from django.utils import timezone

from inference.relay.streams import connection
from inference.worker.contracts import LoadedModel, State

logger = logging.getLogger(__name__)

NAMES = "gpu-workers"  # a sorted set: each worker's name, with the time of its last status


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """One GPU worker process; times in seconds since 1970, memory in bytes."""

    name: str
    pid: int
    device: str
    is_stopping: bool
    running: int
    process_bytes: int
    budget_bytes: int
    started_at: float
    written_at: float
    models: list[LoadedModel] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    serves: list[str] = field(default_factory=list)  # keys of the models whose queues it listens to

    @property
    def ready_models(self) -> set[str]:
        """The keys of the models that are loaded and ready."""
        return {model.key for model in self.models if model.state == State.READY}

    @property
    def counted_bytes(self) -> int:
        """The bytes of the budget that its models take."""
        return sum(model.memory_bytes for model in self.models)


def write_worker(status: WorkerStatus) -> None:
    """Write a worker's status. It expires after WORKER_SILENT_SECONDS."""
    try:
        with connection().pipeline(transaction=False) as pipeline:
            pipeline.set(_key(status.name), json.dumps(asdict(status)), px=int(settings.WORKER_SILENT_SECONDS * 1000))
            pipeline.zadd(NAMES, {status.name: status.written_at})
            pipeline.zremrangebyscore(NAMES, "-inf", status.written_at - 10 * settings.WORKER_SILENT_SECONDS)
            pipeline.execute()
    except redis.RedisError as error:
        logger.warning("the worker's status is not written: Redis is away (%s)", type(error).__name__)


def forget_worker(name: str) -> None:
    """Delete the status of a worker that has ended."""
    try:
        connection().delete(_key(name))
        connection().zrem(NAMES, name)
    except redis.RedisError:
        return  # it expires


def read_workers() -> list[WorkerStatus]:
    """The GPU workers with a status from the last WORKER_SILENT_SECONDS, by name; none while Redis is away."""
    since = timezone.now().timestamp() - 10 * settings.WORKER_SILENT_SECONDS
    try:
        names: list[str] = sorted(connection().zrangebyscore(NAMES, since, "+inf"))  # type: ignore[arg-type]
        texts: list[str | None] = connection().mget([_key(name) for name in names]) if names else []  # type: ignore[assignment]
    except redis.RedisError:
        return []
    return [_read(text) for text in texts if text]


def _key(name: str) -> str:
    return f"gpu-worker:{name}"


def _read(text: str) -> WorkerStatus:
    values = json.loads(text)
    values["models"] = [LoadedModel(**model) for model in values["models"]]
    return WorkerStatus(**values)
