"""The reports of usage and of models: answers, tokens and what they cost, by day and by model."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import date
from typing import TypeVar

from django.utils import timezone
from django.utils.translation import gettext as _

from billing.reporting.ledger_days import DayOfLedger, read_ledger, usage_of
from inference.unpaid import Unpaid, count_unpaid
from monitoring.reports.periods import ReportPeriod
from monitoring.reports.proofs import prove_usage
from monitoring.reports.tables import Column, Report, Row, Table, Unit

Key = TypeVar("Key", date, str)

REFUND = "refund"  # the kind of entries that give back what an answer cost


def make_usage(period: ReportPeriod) -> Report:
    """Make the report of usage. Two queries."""
    ledger = read_ledger(period.first, period.last)
    used = usage_of(ledger)
    by_day = _grouped(used, lambda day: day.day)
    by_model = _grouped(used, lambda day: day.model_key)
    steps = [
        {
            "key": step.first.isoformat(),
            "when": step.short_name,
            **_sums(day for each in step.days for day in by_day[each]),
        }
        for step in period.steps
    ]
    models = [{"key": key, "model": key, **_sums(by_model[key])} for key in sorted(by_model)]
    return Report(
        name="usage",
        title=_("Usage"),
        period=period,
        made_at=timezone.now(),
        proof=prove_usage(ledger),
        tables=[
            Table(
                "steps",
                _("Charged"),
                (Column("when", _("When")), *_columns()),
                steps,
                last={"key": "all", "when": _("Together"), **_sums(used)},
                charted=("charged_microcredits",),
            ),
            Table(
                "models",
                _("By model"),
                (Column("model", _("Model")), *_columns()),
                models,
                last={"key": "all", "model": _("Together"), **_sums(used)},
            ),
        ],
    )


def make_models(period: ReportPeriod) -> Report:
    """Make the report of models. Three queries."""
    ledger = read_ledger(period.first, period.last)
    unpaid = count_unpaid(period.begin, period.end)
    used = usage_of(ledger)
    by_model = _grouped((day for day in ledger.days if day.model_key), lambda day: day.model_key)
    keys = sorted({*by_model, *(each.model_key for each in unpaid)})
    rows = [_row_of_model(key, by_model[key], [each for each in unpaid if each.model_key == key]) for key in keys]
    everything = [day for day in ledger.days if day.model_key]
    together = _row_of_model("all", everything, unpaid) | {"model": _("Together")}
    return Report(
        name="models",
        title=_("Models"),
        period=period,
        made_at=timezone.now(),
        proof=prove_usage(ledger),
        tables=[_table_of_models(rows, together), _steps_of_models(period, used, keys)],
    )


def _columns() -> tuple[Column, ...]:
    return (
        Column("answers", _("Answers"), Unit.COUNT),
        Column("prompt_tokens", _("Tokens in"), Unit.COUNT),
        Column("completion_tokens", _("Tokens out"), Unit.COUNT),
        Column("charged_microcredits", _("Credits"), Unit.MICROCREDITS),
    )


def _grouped(days: Iterable[DayOfLedger], key_of: Callable[[DayOfLedger], Key]) -> dict[Key, list[DayOfLedger]]:
    groups: dict[Key, list[DayOfLedger]] = defaultdict(list)
    for day in days:
        groups[key_of(day)].append(day)
    return groups


def _sums(used: Iterable[DayOfLedger]) -> Row:
    days = list(used)
    return {
        "answers": sum(day.entries for day in days),
        "prompt_tokens": sum(day.prompt_tokens for day in days),
        "completion_tokens": sum(day.completion_tokens for day in days),
        "charged_microcredits": -sum(day.amount_microcredits for day in days),
    }


def _row_of_model(key: str, days: list[DayOfLedger], unpaid: list[Unpaid]) -> Row:
    used = [day for day in days if day.kind != REFUND]
    refunded = sum(day.amount_microcredits for day in days if day.kind == REFUND)
    sums = _sums(used)
    return {
        "key": key,
        "model": key,
        **sums,
        "cached": sum(day.entries for day in used if day.is_from_cache),
        "failed": sum(each.answers for each in unpaid if each.is_failed),
        "cancelled": sum(each.answers for each in unpaid if not each.is_failed),
        "refunded_microcredits": refunded,
        "net_microcredits": sums["charged_microcredits"] - refunded,
    }


def _table_of_models(rows: list[Row], together: Row) -> Table:
    answers, tokens_in, tokens_out, charged = _columns()
    return Table(
        "models",
        _("By model"),
        (
            Column("model", _("Model")),
            answers,
            Column("cached", _("Of them cached"), Unit.COUNT),
            Column("failed", _("Failed"), Unit.COUNT),
            Column("cancelled", _("Cancelled"), Unit.COUNT),
            tokens_in,
            tokens_out,
            charged,
            Column("refunded_microcredits", _("Refunded"), Unit.MICROCREDITS),
            Column("net_microcredits", _("Net"), Unit.MICROCREDITS),
        ),
        rows,
        last=together,
        note=_("Refunds count on the day on which they were made, whenever the answer was."),
    )


def _steps_of_models(period: ReportPeriod, used: list[DayOfLedger], keys: list[str]) -> Table:
    charged: dict[tuple[date, str], int] = defaultdict(int)
    for day in used:
        charged[day.day, day.model_key] -= day.amount_microcredits
    names = {key: f"microcredits:{key}" for key in keys}
    rows: list[Row] = [
        {
            "key": step.first.isoformat(),
            "when": step.short_name,
            **{names[key]: sum(charged[day, key] for day in step.days) for key in keys},
        }
        for step in period.steps
    ]
    columns = [Column(names[key], key, Unit.MICROCREDITS) for key in keys]
    title = _("Charged, by model")
    return Table("steps", title, (Column("when", _("When")), *columns), rows, charted=tuple(names.values()))
