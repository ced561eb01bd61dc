"""Current figures of the services, the machine, the models, the queues and the workers. Nothing is stored."""

import time
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import psutil
import redis
from celery import current_app
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.models import Count, Min, Q
from django.utils import timezone
from kombu.exceptions import OperationalError

from core import sql
from core.gpus import NoGpu, read_gpu_loads
from core.postgresql.capacity import LIMIT
from core.redis_clients import connect
from inference import answer_cache
from inference.models import CatalogueModel, Generation, GenerationState
from inference.relay import streams
from inference.worker import status

WORKERS_ANSWER_SECONDS = 1.0


CONNECTIONS = """
SELECT COALESCE(state, 'unknown'), COUNT(*) FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' GROUP BY 1"""
SERVER = """
SELECT pg_database_size(current_database()),
    COALESCE((SELECT MAX(EXTRACT(epoch FROM clock_timestamp() - xact_start)) FROM pg_stat_activity
              WHERE datname = current_database() AND pid <> pg_backend_pid()), 0)::float8"""


class BrokerAway(Exception):
    """Redis, which carries the queues, cannot be reached."""


@dataclass(frozen=True, slots=True)
class Server:
    """PostgreSQL: its connections by their state, how many Tally may have, its size, and its oldest transaction."""

    connections_by_state: dict[str, int]
    connections_limit: int
    size_bytes: int
    oldest_seconds: float

    @property
    def connections(self) -> int:
        """All of them."""
        return sum(self.connections_by_state.values())


@dataclass(frozen=True, slots=True)
class Check:
    """The check of a service that Tally cannot work without: whether it answers, and in how many milliseconds."""

    name: str
    is_ok: bool
    milliseconds: float


def check_services() -> list[Check]:
    """Check PostgreSQL and Redis."""
    return [_timed("database", database_answers), _timed("redis", redis_answers)]


def read_server() -> Server:
    """How PostgreSQL does, in three queries. Raises DatabaseError."""
    [[limit]] = sql.fetch_all(LIMIT, [])
    [[size_bytes, oldest_seconds]] = sql.fetch_all(SERVER, [])
    return Server(dict(sql.fetch_all(CONNECTIONS, [])), limit, size_bytes, oldest_seconds)


def database_answers() -> bool:
    """Whether PostgreSQL answers."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return False
    return True


def redis_answers() -> bool:
    """Whether all three users can log in to Redis, and Redis accepts a write.

    A full Redis still answers reads, but then every request for a model's answer fails.
    """
    try:
        broker_connection().llen("default")
        answer_cache.connection().zcard(answer_cache.USED)
        return bool(streams.connection().set("readyz", "1", ex=60))
    except redis.RedisError:
        return False


@cache
def broker_connection() -> "redis.Redis":
    """This process's Redis client for reading the broker's queues."""
    return connect(settings.BROKER_REDIS_URL, answer_seconds=5, connect_seconds=2)


def unserved_models() -> list[str]:
    """The keys of the models on offer that no GPU worker serves. Raises DatabaseError."""
    served = {key for worker in status.read_workers() if not worker.is_stopping for key in worker.serves}
    offered = CatalogueModel.objects.offered().filter(unavailable_reason="").values_list("key", flat=True)
    return [key for key in offered if key not in served]


def read_system() -> dict[str, Any]:
    """Processor, memory, disk and GPUs of the machine that answers. Bytes, percent, degrees Celsius."""
    memory, disk = psutil.virtual_memory(), psutil.disk_usage(str(settings.BASE_DIR))
    return {
        "processors": psutil.cpu_count() or 1,
        "processor_percent": psutil.cpu_percent(interval=0.05),
        "load_1_minute": psutil.getloadavg()[0],
        "memory_total_bytes": memory.total,
        "memory_available_bytes": memory.available,
        "disk_total_bytes": disk.total,
        "disk_free_bytes": disk.free,
        "uptime_seconds": int(time.time() - psutil.boot_time()),
        "gpus": read_gpus(),
    }


def read_gpus() -> list[dict[str, Any]]:
    """The driver's figures for each GPU; an empty list without a GPU or its driver."""
    try:
        return [asdict(load) for load in read_gpu_loads()]
    except NoGpu:
        return []


def read_models() -> list[dict[str, Any]]:
    """Every model of the catalogue: how many answers wait and run, and for how many seconds the oldest has waited.

    The two queries read only live answers, because the ended ones of years are many.
    """
    queued, running = (Q(state=state) for state in (GenerationState.QUEUED, GenerationState.RUNNING))
    figures: Any = Generation.objects.live().values("model_id").order_by()
    figures = figures.annotate(
        queued=Count("pk", filter=queued),
        running=Count("pk", filter=running),
        first_queued_at=Min("created_at", filter=queued),
    )
    live = {row.pop("model_id"): row for row in figures}
    nothing = {"queued": 0, "running": 0, "first_queued_at": None}
    models = CatalogueModel.objects.order_by("position", "key")
    return [_describe_model(model, live.get(model.key, nothing)) for model in models]


def _describe_model(model: CatalogueModel, live: dict[str, Any]) -> dict[str, Any]:
    return {
        "key": model.key,
        "name": model.name,
        "is_active": model.is_active,
        "is_available": model.is_available,
        "unavailable_reason": model.unavailable_reason,
        "queue": model.queue,
        "queued": live["queued"],
        "running": live["running"],
        "oldest_queued_seconds": _age(live["first_queued_at"]),
    }


def read_queues() -> list[dict[str, Any]]:
    """How many tasks lie in each queue of the broker. Raises BrokerAway."""
    names = ["default", "mail", *(model.queue for model in CatalogueModel.objects.order_by("position", "key"))]
    try:
        return [{"name": name, "tasks": int(broker_connection().llen(name))} for name in names]  # type: ignore[arg-type]
    except redis.RedisError as error:
        raise BrokerAway("The queues cannot be read: Redis does not answer.") from error


def read_answer_cache() -> dict[str, Any]:
    """What the answer cache knows and how often it helped. Raises BrokerAway."""
    try:
        figures = asdict(answer_cache.read_figures())
    except redis.RedisError as error:
        raise BrokerAway("The answer cache cannot be read: Redis does not answer.") from error
    limits = {
        "entries_limit": settings.ANSWER_CACHE_ENTRIES,
        "price_percent": settings.ANSWER_CACHE_PRICE_PERCENT,
    }
    return figures | limits


def read_evicted_keys() -> dict[str, int]:
    """How many keys each Redis has thrown away since it started, by what it is for. Raises RedisError.

    A Redis whose users were made for an earlier version does not let them ask; it is left out.
    """
    clients = {"broker": broker_connection(), "relay": streams.connection(), "cache": answer_cache.connection()}
    counts = {}
    for name, client in clients.items():
        try:
            counts[name] = int(client.info("stats")["evicted_keys"])  # type: ignore[index]
        except redis.exceptions.NoPermissionError:
            continue
    return counts


def read_workers() -> list[dict[str, Any]]:
    """The Celery workers that answer within a second, with their queues and what they are doing. Raises BrokerAway."""
    inspect = current_app.control.inspect(timeout=WORKERS_ANSWER_SECONDS)
    try:
        stats = inspect.stats() or {}
        queues = (inspect.active_queues() or {}) if stats else {}
        active = (inspect.active() or {}) if stats else {}
    except (redis.RedisError, OperationalError) as error:
        raise BrokerAway("The workers cannot be asked: Redis does not answer.") from error
    return [
        {
            "name": name,
            "pid": figures.get("pid", 0),
            "threads": figures.get("pool", {}).get("max-concurrency", 0),
            "queues": sorted(queue["name"] for queue in queues.get(name, [])),
            "active_tasks": len(active.get(name, [])),
            "total_tasks": sum(figures.get("total", {}).values()),
            "uptime_seconds": figures.get("uptime", 0),
        }
        for name, figures in sorted(stats.items())
    ]


def _timed(name: str, answers: Any) -> Check:
    started = time.perf_counter()
    is_ok = answers()
    return Check(name, is_ok, round((time.perf_counter() - started) * 1000, 2))


def _age(since: Any) -> float | None:
    return None if since is None else round((timezone.now() - since).total_seconds(), 1)
