"""How Tally did in the last hour, day, week or month: tables over time, from samples, for the page of operations.

Rates are amounts divided by the seconds between two samples, and percentiles come from the difference of their
histograms. Where there was no sample, nothing is known, and lines have a gap.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils.formats import date_format
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from monitoring.reports.tables import Column, Row, Table, Unit
from monitoring.totals.metrics import (
    ANSWERS,
    CREDITS,
    FIRST_TOKEN,
    MODEL,
    OUTPUT_TOKEN,
    QUEUE_WAIT,
    TOKEN_USAGE,
    Metric,
)
from monitoring.totals.samples import Measured, Period, read_between

MOST_MODELS = 6  # as many looks as lines have
Figures = Callable[[Period], Row]


@dataclass(frozen=True, slots=True)
class Span:
    """A length of time, and the steps in which it is shown."""

    title: str | Promise
    length: timedelta
    step: timedelta
    time_format: str


SPANS = {
    "hour": Span(gettext_lazy("Hour"), timedelta(hours=1), timedelta(minutes=1), "H:i"),
    "day": Span(gettext_lazy("Day"), timedelta(days=1), timedelta(minutes=30), "H:i"),
    "week": Span(gettext_lazy("Week"), timedelta(days=7), timedelta(hours=3), "j M H:i"),
    "month": Span(gettext_lazy("Month"), timedelta(days=30), timedelta(hours=12), "j M H:i"),
}


def read_history(span: Span, now: datetime) -> list[Table]:
    """Return the tables of the time until now. One query."""
    steps = span.length // span.step
    moments = [now - span.length + number * span.step for number in range(steps)]
    measured = read_between([*moments, now])
    models = sorted({key for one in measured for key in _models(one.period)})[:MOST_MODELS]
    of_models = [Column(key, key, Unit.RATE) for key in models]
    whens = [date_format(moment.replace(tzinfo=None), span.time_format) for moment in moments]

    def table(key: str, title: str, columns: list[Column], figures: Figures) -> Table:
        rows = [_row(when, one, columns, figures) for when, one in zip(whens, measured, strict=True)]
        charted = tuple(column.key for column in columns)
        return Table(key, title, (Column("when", _("From, UTC")), *columns), rows, charted=charted)

    return [
        table("over-answers", _("Answers a second"), _of_answers(), _answers),
        table("over-first", _("First token, seconds"), _of_seconds(), _seconds(FIRST_TOKEN)),
        table("over-token", _("Each token, seconds"), _of_seconds(), _seconds(OUTPUT_TOKEN)),
        table("over-waiting", _("Waiting for a worker, seconds"), _of_seconds(), _seconds(QUEUE_WAIT)),
        table("over-tokens", _("Tokens out a second"), of_models, _tokens(models)),
        table("over-credits", _("Credits a second"), _of_credits(), _credits),
    ]


def _row(when: str, measured: Measured, columns: list[Column], figures: Figures) -> Row:
    if not measured.period.seconds:
        return {"when": when, **{column.key: None for column in columns}}
    return {"when": when, **figures(measured.period)}


def _models(period: Period) -> set[str]:
    place = TOKEN_USAGE.labels.index(MODEL)
    return {
        labels[place] for (name, labels), one in period.sums.series.items() if name == TOKEN_USAGE.name and one.amount
    }


def _of_answers() -> list[Column]:
    return [Column("ended", _("ended"), Unit.RATE), Column("failed", _("failed"), Unit.RATE)]


def _answers(period: Period) -> Row:
    return {
        "ended": period.amount(ANSWERS) / period.seconds,
        "failed": period.amount(ANSWERS, outcome="failed") / period.seconds,
    }


def _of_seconds() -> list[Column]:
    return [Column(name, name, Unit.SECONDS) for name in ("p50", "p95", "p99")]


def _seconds(metric: Metric) -> Figures:
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    return lambda period: {name: period.percentile(metric, share) for name, share in shares.items()}


def _tokens(models: list[str]) -> Figures:
    def figures(period: Period) -> Row:
        return {key: _tokens_out(period, key) / period.seconds for key in models}

    return figures


def _tokens_out(period: Period, model_key: str) -> float:
    labels: dict[str, Any] = {MODEL: model_key, "gen_ai_token_type": "output"}
    return period.total(TOKEN_USAGE, **labels)


def _of_credits() -> list[Column]:
    return [Column("spent", _("spent"), Unit.RATE), Column("sold", _("sold"), Unit.RATE)]


def _credits(period: Period) -> Row:
    return {
        "spent": period.amount(CREDITS, kind="usage", direction="out") / 1_000_000 / period.seconds,
        "sold": period.amount(CREDITS, kind="top_up", direction="in") / 1_000_000 / period.seconds,
    }
