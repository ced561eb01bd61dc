"""How Tally does now: the figures of the page of operations, which the rules of the alerts judge too."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import redis
from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.utils import timezone
from django.utils.translation import gettext as _

from billing.reporting.standing import Holds, LastProof, OpenEvents, read_holds, read_last_proofs, read_open_events
from inference.worker.status import WorkerStatus, read_workers
from monitoring import machine
from monitoring.models import AlertRound
from monitoring.processes import Processes, read_processes
from monitoring.totals.adding import limited_transaction, owned_microcredits, read_totals
from monitoring.totals.metrics import (
    ANSWERS,
    CREDITS,
    FIRST_TOKEN,
    MODEL,
    OUTPUT_TOKEN,
    REQUEST_DURATION,
    TOKEN_USAGE,
)
from monitoring.totals.samples import Period, read_period

UNREADABLE = (DatabaseError, InterfaceError, redis.RedisError, machine.BrokerAway)
PERIOD = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class ModelNow:
    """A model: what waits and runs, its tokens a second, and the workers that take its answers."""

    key: str
    is_available: bool
    queued: int
    running: int
    oldest_seconds: float
    workers: int
    tokens_in: float | None
    tokens_out: float | None


@dataclass(slots=True)
class Overview:
    """All figures. What could not be read is None; `unread` has the keys of those parts with their names."""

    seen_at: datetime
    period: Period | None = None
    owned_microcredits: int | None = None
    holds: Holds | None = None
    proofs: list[LastProof] | None = None
    server: machine.Server | None = None
    models: list[ModelNow] | None = None
    workers: list[WorkerStatus] = field(default_factory=list)
    system: dict[str, Any] = field(default_factory=dict)
    answer_cache: dict[str, Any] | None = None
    open_events: OpenEvents | None = None
    processes: Processes | None = None
    mark: AlertRound | None = None
    redis_evicted: dict[str, int] | None = None
    unread: dict[str, str] = field(default_factory=dict)

    def percentile(self, metric: Any, share: float) -> float | None:
        """Of the last minutes, None if nothing is known or nothing happened."""
        return self.period.percentile(metric, share) if self.period else None

    def tiles(self) -> dict[str, Any]:
        """The figures of the first row."""
        period = self.period
        answers = period.amount(ANSWERS) if period else 0
        return {
            "answers_a_second": answers / period.seconds if period else None,
            "failed_percent": failed_percent(period),
            "first_token": [self.percentile(FIRST_TOKEN, share) for share in (0.5, 0.95, 0.99)],
            "per_token": [self.percentile(OUTPUT_TOKEN, share) for share in (0.5, 0.95, 0.99)],
            "whole": [self.percentile(REQUEST_DURATION, share) for share in (0.5, 0.95, 0.99)],
            "running": sum(model.running for model in self.models or ()),
            "queued": sum(model.queued for model in self.models or ()),
            "spent": _moved(period, "usage", "out"),
            "sold": _moved(period, "top_up", "in"),
            "owned": self.owned_microcredits,
            "faults": sum(proof.faults for proof in self.proofs) if self.proofs else None,
        }


def look() -> Overview:
    """Read all figures. A part that cannot be read is left out."""
    overview = Overview(seen_at=timezone.now(), workers=read_workers(), system=machine.read_system())
    if machine.database_answers():
        unread = {key: name for key, (name, read) in _parts().items() if not _try_to_read(overview, read)}
    else:
        unread = {key: _("the database") for key in _parts()}
    for read in (_read_answer_cache, _read_evicted):
        try:
            read(overview)
        except UNREADABLE:
            unread["redis"] = _("Redis")
    overview.unread = unread
    return overview


def _parts() -> dict[str, tuple[str, Callable[[Overview], None]]]:
    """What PostgreSQL knows, by the key that rules name: the part in words, and what reads it."""
    return {
        "totals": (_("totals"), _read_totals),
        "holds": (_("holds"), _read_holds),
        "proofs": (_("proofs"), _read_proofs),
        "server": (_("PostgreSQL"), _read_server),
        "models": (_("models"), _read_models),
        "payments": (_("payments"), _read_payments),
        "processes": (_("processes"), _read_processes),
        "mark": (_("alerts"), _read_mark),
    }


def _try_to_read(overview: Overview, read: Callable[[Overview], None]) -> bool:
    """Whether a part of what PostgreSQL knows could be read."""
    try:
        with limited_transaction():
            read(overview)
    except UNREADABLE:
        return False
    return True


def _read_totals(overview: Overview) -> None:
    sums = read_totals()
    if sums is not None:
        overview.period = read_period(PERIOD, sums)
        overview.owned_microcredits = owned_microcredits(sums)


def _read_holds(overview: Overview) -> None:
    overview.holds = read_holds()


def _read_proofs(overview: Overview) -> None:
    overview.proofs = read_last_proofs()


def _read_server(overview: Overview) -> None:
    overview.server = machine.read_server()


def _read_payments(overview: Overview) -> None:
    overview.open_events = read_open_events(older_than=timedelta(minutes=settings.ALERT_PAYMENT_MINUTES))


def _read_processes(overview: Overview) -> None:
    overview.processes = read_processes()


def _read_mark(overview: Overview) -> None:
    overview.mark = AlertRound.objects.first()


def _read_answer_cache(overview: Overview) -> None:
    overview.answer_cache = machine.read_answer_cache()


def _read_evicted(overview: Overview) -> None:
    overview.redis_evicted = machine.read_evicted_keys()


def _read_models(overview: Overview) -> None:
    """After the totals, which tell the tokens a second."""
    period = overview.period
    taking = [worker for worker in overview.workers if not worker.is_stopping]
    overview.models = [
        ModelNow(
            key=model["key"],
            is_available=model["is_available"],
            queued=model["queued"],
            running=model["running"],
            oldest_seconds=model["oldest_queued_seconds"] or 0.0,
            workers=sum(model["key"] in worker.serves for worker in taking),
            tokens_in=_tokens_a_second(period, model["key"], "input"),
            tokens_out=_tokens_a_second(period, model["key"], "output"),
        )
        for model in machine.read_models()
        if model["is_active"]
    ]


def _tokens_a_second(period: Period | None, model_key: str, kind: str) -> float | None:
    if period is None:
        return None
    return period.total(TOKEN_USAGE, gen_ai_token_type=kind, **{MODEL: model_key}) / period.seconds


def failed_percent(period: Period | None) -> float | None:
    """Of the answers that ended, None if there were none."""
    answers = period.amount(ANSWERS) if period else 0
    return 100 * period.amount(ANSWERS, outcome="failed") / answers if period and answers else None


def _moved(period: Period | None, kind: str, direction: str) -> int | None:
    return None if period is None else period.amount(CREDITS, kind=kind, direction=direction)
