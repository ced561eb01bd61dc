"""Answers that ended without a charge: how many failed or were cancelled, and why."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, QuerySet

from inference.models import Generation, GenerationState

UNPAID = ["cancelled", "failed"]  # as in the index `inference_unpaid`


@dataclass(frozen=True, slots=True)
class Unpaid:
    """Answers of one model that ended in one way."""

    model_key: str
    is_failed: bool
    answers: int


@dataclass(frozen=True, slots=True)
class Failure:
    """Answers of one model that failed for one reason."""

    model_key: str
    reason: str
    answers: int


def count_unpaid(begin: datetime, end: datetime) -> list[Unpaid]:
    """Return how many answers ended without a charge from one moment to before another. One query."""
    counts = _ended(begin, end).values_list("model_id", "state").annotate(n=Count("pk")).order_by("model_id", "state")
    return [Unpaid(key, state == GenerationState.FAILED, n) for key, state, n in counts]


def count_failures(begin: datetime, end: datetime, most: int) -> list[Failure]:
    """Return why answers failed in this time, the most frequent reasons first, `most` of them. One query."""
    failed = _ended(begin, end).filter(state=GenerationState.FAILED)
    counts = failed.values_list("model_id", "error").annotate(n=Count("pk")).order_by("-n", "model_id", "error")
    return [Failure(key, reason, n) for key, reason, n in counts[:most]]


def _ended(begin: datetime, end: datetime) -> QuerySet[Generation]:
    return Generation.objects.filter(state__in=UNPAID, ended_at__gte=begin, ended_at__lt=end)
