"""How each model does, for everybody: up, slow or down, with the seconds until an answer begins.

It tells nothing of workers, customers, or how many they are. A model is slow if customers wait for their answers to
begin. One customer who asks for a thousand answers at once waits for most of them, while everybody else is answered at
once: so of each customer only the shortest wait counts.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from math import ceil
from statistics import median
from typing import Any

from django.db import connection, transaction
from django.db.models import Exists, Min, OuterRef
from django.utils import timezone

from billing.ledger.charges import latest_charged_holds
from inference.models import CatalogueModel, Generation, GenerationState
from inference.worker.status import WorkerStatus, read_workers
from monitoring.machine import redis_answers

SLOW_SECONDS = 10
RECENT = timedelta(minutes=10)  # an answer that ended before says nothing of now
LATEST_ENTRIES = 300  # of the ledger, in which the recent answers are searched
DATABASE_MILLISECONDS = 2000  # for each statement; then the page says that it cannot see


class State(StrEnum):
    """What a customer of this model meets now."""

    UP = "up"
    ASLEEP = "asleep"  # up, but its first answer waits until it is loaded
    SLOW = "slow"
    NOT_OFFERED = "not offered"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class ModelState:
    """One model of the catalogue. `wait_seconds` is about how long an answer takes to begin, if the model is slow."""

    name: str
    state: State
    wait_seconds: int = 0


def read_model_states() -> list[ModelState]:
    """The states of the models on offer, in the operator's order.

    Without Redis no request is taken, so all models are down. Raises Django's database errors, also when the database
    is too slow.
    """
    can_take_requests = redis_answers()
    workers = [worker for worker in read_workers() if not worker.is_stopping] if can_take_requests else []
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL statement_timeout = {DATABASE_MILLISECONDS}")
        models = list(CatalogueModel.objects.offered())
        waits = _read_waits() if can_take_requests else {}
    return [_judge(model, workers, waits.get(model.key, 0.0)) for model in models]


def _judge(model: CatalogueModel, workers: Iterable[WorkerStatus], wait_seconds: float) -> ModelState:
    serving = [worker for worker in workers if model.key in worker.serves]
    if not model.is_available:
        state = State.NOT_OFFERED
    elif not serving:
        state = State.DOWN
    elif wait_seconds > SLOW_SECONDS:
        return ModelState(model.name, State.SLOW, _round(wait_seconds))
    else:
        is_loaded = any(model.key in worker.ready_models for worker in serving)
        state = State.UP if is_loaded else State.ASLEEP
    return ModelState(model.name, state)


def _read_waits() -> dict[str, float]:
    """How many seconds customers wait for a model's answers to begin: now, or of late. The longer of both counts."""
    waiting, recent = _longest_waiting(), _recent_waits()
    return {key: max(waiting.get(key, 0.0), recent.get(key, 0.0)) for key in waiting.keys() | recent.keys()}


def _longest_waiting() -> dict[str, float]:
    """By model, for how many seconds somebody has waited of whom nothing is being written. Reads live answers alone."""
    being_written = Generation.objects.filter(user=OuterRef("user"), state=GenerationState.RUNNING)
    starved = Generation.objects.claimable().filter(~Exists(being_written)).order_by()
    oldest = starved.values_list("model_id").annotate(oldest=Min("created_at"))
    now = timezone.now()
    return {key: (now - created_at).total_seconds() for key, created_at in oldest}


def _recent_waits() -> dict[str, float]:
    """By model, the median of the customers' shortest waits for their recent answers, in seconds."""
    recent = Generation.objects.filter(hold__in=latest_charged_holds(LATEST_ENTRIES), started_at__isnull=False)
    rows: Any = recent.filter(ended_at__gt=timezone.now() - RECENT).order_by()
    shortest: dict[str, dict[int, float]] = defaultdict(dict)
    for key, user_id, created_at, started_at in rows.values_list("model_id", "user_id", "created_at", "started_at"):
        of_model, wait = shortest[key], (started_at - created_at).total_seconds()
        of_model[user_id] = min(wait, of_model.get(user_id, wait))
    return {key: median(waits.values()) for key, waits in shortest.items()}


def _round(seconds: float) -> int:
    """Round up to a multiple of five, as nobody should count on more."""
    return 5 * ceil(seconds / 5)
