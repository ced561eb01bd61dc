"""How Tally does now, for operators: the figures of the page of operations, and what is wrong, the worst first."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import redis
from django.db import DatabaseError, InterfaceError
from django.utils import timezone
from django.utils.translation import gettext as _

from billing.reporting.standing import Holds, LastProof, read_holds, read_last_proofs
from inference.worker.status import WorkerStatus, read_workers
from monitoring import machine
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
LIMITS = {"queue_seconds": 60, "failed_percent": 5, "first_token_seconds": 5, "connections_percent": 90}
PROOF_OVERDUE = {True: timedelta(hours=30), False: timedelta(hours=3)}  # of everything, of what is new


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


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong: in a few words, and with its figure and limit."""

    title: str
    detail: str
    is_critical: bool = False


@dataclass(slots=True)
class Overview:
    """All figures. What could not be read is None, and named in `unread`."""

    seen_at: Any = field(default_factory=timezone.now)
    period: Period | None = None
    owned_microcredits: int | None = None
    holds: Holds | None = None
    proofs: list[LastProof] | None = None
    server: machine.Server | None = None
    models: list[ModelNow] | None = None
    workers: list[WorkerStatus] = field(default_factory=list)
    system: dict[str, Any] = field(default_factory=dict)
    answer_cache: dict[str, Any] | None = None
    unread: list[str] = field(default_factory=list)

    @property
    def findings(self) -> list[Finding]:
        """What is wrong, the critical first."""
        found = [*_of_money(self), *_of_answers(self), *_of_servers(self)]
        return sorted(found, key=lambda finding: not finding.is_critical)

    def percentile(self, metric: Any, share: float) -> float | None:
        """Of the last minutes, None if nothing is known or nothing happened."""
        return self.period.percentile(metric, share) if self.period else None

    def tiles(self) -> dict[str, Any]:
        """The figures of the first row."""
        period = self.period
        answers = period.amount(ANSWERS) if period else 0
        return {
            "answers_a_second": answers / period.seconds if period else None,
            "failed_percent": _failed_percent(period),
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
    overview = Overview(workers=read_workers(), system=machine.read_system())
    parts = {
        _("totals"): _read_totals,
        _("holds"): _read_holds,
        _("proofs"): _read_proofs,
        _("PostgreSQL"): _read_server,
        _("models"): _read_models,
    }
    if machine.database_answers():
        overview.unread = [name for name, read in parts.items() if not _try_to_read(overview, read)]
    else:
        overview.unread = [_("the database")]
    try:
        overview.answer_cache = machine.read_answer_cache()
    except UNREADABLE:
        overview.unread.append(_("Redis"))
    return overview


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


def _failed_percent(period: Period | None) -> float | None:
    answers = period.amount(ANSWERS) if period else 0
    return 100 * period.amount(ANSWERS, outcome="failed") / answers if period and answers else None


def _moved(period: Period | None, kind: str, direction: str) -> int | None:
    return None if period is None else period.amount(CREDITS, kind=kind, direction=direction)


def _of_money(overview: Overview) -> Iterator[Finding]:
    for proof in overview.proofs or ():
        if proof.faults:
            yield Finding(_("The ledger has a fault"), _("The last proof found {n}.").format(n=proof.faults), True)
        if overview.seen_at - proof.started_at > PROOF_OVERDUE[proof.is_of_everything]:
            yield Finding(
                _("A proof of the ledger is overdue"),
                _("The last one began at {at:%Y-%m-%d %H:%M} UTC.").format(at=proof.started_at),
            )
    if overview.holds and overview.holds.stuck:
        yield Finding(_("Holds are stuck"), _("{n} have outlived their time.").format(n=overview.holds.stuck))


def _of_answers(overview: Overview) -> Iterator[Finding]:
    for model in overview.models or ():
        if model.is_available and not model.workers:
            yield Finding(
                _("No worker takes answers of {model}").format(model=model.key),
                _("Customers can ask for it, and wait."),
                True,
            )
        if model.oldest_seconds > LIMITS["queue_seconds"]:
            detail = _("The oldest waits for {seconds:.0f} s, limit {limit} s; {n} wait.")
            words = detail.format(seconds=model.oldest_seconds, limit=LIMITS["queue_seconds"], n=model.queued)
            yield Finding(_("Answers of {model} wait too long").format(model=model.key), words)
    failed = _failed_percent(overview.period)
    if failed is not None and failed > LIMITS["failed_percent"]:
        words = _("{failed:.1f} % in the last five minutes, limit {limit} %.")
        yield Finding(_("Answers fail"), words.format(failed=failed, limit=LIMITS["failed_percent"]), True)
    first = overview.percentile(FIRST_TOKEN, 0.95)
    if first is not None and first > LIMITS["first_token_seconds"]:
        words = _("One in twenty begins after {first:.1f} s, limit {limit} s.")
        yield Finding(_("Answers begin late"), words.format(first=first, limit=LIMITS["first_token_seconds"]))


def _of_servers(overview: Overview) -> Iterator[Finding]:
    server = overview.server
    if server and 100 * server.connections > LIMITS["connections_percent"] * server.connections_limit:
        words = _("{n} of {limit} are in use.").format(n=server.connections, limit=server.connections_limit)
        yield Finding(_("Database connections run out"), words)
    if overview.unread:
        yield Finding(_("Something cannot be read"), ", ".join(overview.unread), True)
