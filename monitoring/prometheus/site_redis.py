"""The metrics that Redis tells: tasks in the broker's queues, the answer cache, and the workers with their models."""

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from inference import answer_cache
from inference.worker.contracts import State
from inference.worker.status import read_workers as read_statuses
from monitoring import machine
from monitoring.totals.metrics import MODEL

Gauge = GaugeMetricFamily
WORKER = "worker"


def read_queues() -> Iterator[Metric]:
    """Tasks that no worker has taken yet. Raises BrokerAway."""
    tasks = Gauge("tally_broker_tasks", "Tasks in a queue of Celery that no worker has taken.", labels=["queue"])
    for queue in machine.read_queues():
        tasks.add_metric([queue["name"]], queue["tasks"])
    yield tasks


def read_answer_cache() -> Iterator[Metric]:
    """What the answer cache did since Redis lost its data, if it ever did. Raises RedisError."""
    figures = answer_cache.read_figures()
    yield Gauge("tally_answer_cache_entries", "Answers that the cache knows.", value=figures.entries)
    requests = CounterMetricFamily(
        "tally_answer_cache_requests",
        "Deterministic requests: repeated at once, joined with an identical one, or generated.",
        labels=["result"],
    )
    for result, count in (("hit", figures.hits), ("joined", figures.joined), ("miss", figures.misses)):
        requests.add_metric([result], count)
    yield requests
    yield CounterMetricFamily("tally_answer_cache_stored", "Answers that were kept.", value=figures.stored)
    yield CounterMetricFamily("tally_answer_cache_evicted", "Answers that made room.", value=figures.evicted)


def read_workers() -> Iterator[Metric]:
    """Each GPU worker that was heard of just now, and what it has loaded."""
    info = Gauge("tally_worker_up", "1 for a GPU worker that takes answers, 0 if it stops.", labels=[WORKER, "device"])
    started = Gauge("tally_worker_start_time_seconds", "When it started.", labels=[WORKER])
    running = Gauge("tally_worker_answers", "Answers that it writes now.", labels=[WORKER])
    memory = Gauge("tally_worker_resident_bytes", "Memory of its process.", labels=[WORKER])
    budget = Gauge("tally_worker_model_budget_bytes", "Memory that its models may take.", labels=[WORKER])
    models = Gauge("tally_worker_model_bytes", "Memory of a model in a worker.", labels=[WORKER, MODEL])
    ready = Gauge("tally_worker_model_ready", "1 if the model is loaded and ready.", labels=[WORKER, MODEL])
    serving: Counter[str] = Counter()
    for worker in read_statuses():
        if not worker.is_stopping:
            serving.update(worker.serves)
        name = [worker.name]
        info.add_metric([worker.name, worker.device], float(not worker.is_stopping))
        started.add_metric(name, worker.started_at)
        running.add_metric(name, worker.running)
        memory.add_metric(name, worker.process_bytes)
        budget.add_metric(name, worker.budget_bytes)
        for model in worker.models:
            models.add_metric([worker.name, model.key], model.memory_bytes)
            ready.add_metric([worker.name, model.key], float(model.state == State.READY))
    workers = Gauge("tally_model_workers", "Workers that take answers of a model.", labels=[MODEL])
    for key, count in serving.items():
        workers.add_metric([key], count)
    yield from (info, started, running, memory, budget, models, ready, workers)
