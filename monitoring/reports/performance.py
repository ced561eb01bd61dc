"""The report of performance: how long answers took, from the histograms of the samples.

Percentiles are those of all answers of the period together: the histograms of two samples are subtracted. No percentile
is the average of others.
"""

from datetime import datetime

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext as _

from core.days import in_report_zone
from monitoring.reports.periods import ReportPeriod
from monitoring.reports.tables import Column, Proof, Report, Row, Table, Unit
from monitoring.totals.metrics import (
    ANSWERS,
    FIRST_TOKEN,
    MODEL,
    OUTPUT_TOKEN,
    QUEUE_WAIT,
    REQUEST_DURATION,
    Metric,
)
from monitoring.totals.samples import Measured, Period, read_between

SHARES = {"p50_seconds": 0.5, "p95_seconds": 0.95, "p99_seconds": 0.99}
OUTCOMES = ("completed", "cached", "stopped", "cancelled", "failed")


def make(period: ReportPeriod) -> Report:
    """Make the report. Two queries: samples at both ends, and at the ends of each step."""
    [whole] = read_between([period.begin, period.end])
    steps = read_between([step.begin for step in period.steps] + [period.end])
    return Report(
        name="performance",
        title=_("Performance"),
        period=period,
        made_at=timezone.now(),
        proof=_proof(whole),
        tables=[
            _steps(period, steps),
            *[_times(key, title, metric, whole.period) for key, title, metric in _metrics()],
            _outcomes(whole.period),
        ],
    )


def _metrics() -> list[tuple[str, str, Metric]]:
    return [
        ("first_token", _("First token, waiting included"), FIRST_TOKEN),
        ("per_token", _("Each token after the first"), OUTPUT_TOKEN),
        ("whole", _("Whole answer, waiting included"), REQUEST_DURATION),
        ("waiting", _("Waiting for a worker"), QUEUE_WAIT),
    ]


def _seconds_columns() -> tuple[Column, ...]:
    return (
        Column("answers", _("Answers"), Unit.COUNT),
        Column("mean_seconds", _("Mean, s"), Unit.SECONDS),
        Column("p50_seconds", _("p50, s"), Unit.SECONDS),
        Column("p95_seconds", _("p95, s"), Unit.SECONDS),
        Column("p99_seconds", _("p99, s"), Unit.SECONDS),
    )


def _times(key: str, title: str, metric: Metric, measured: Period) -> Table:
    rows = [{"key": model, "model": model, **_figures(metric, measured, model)} for model in _models(measured)]
    together = {"key": "all", "model": _("Together"), **_figures(metric, measured)}
    return Table(key, title, (Column("model", _("Model")), *_seconds_columns()), rows, last=together)


def _figures(metric: Metric, measured: Period, model: str | None = None) -> Row:
    labels = {} if model is None else {MODEL: model}
    answers = measured.amount(metric, **labels)
    return {
        "answers": answers,
        "mean_seconds": measured.total(metric, **labels) / answers if answers else None,
        **{name: measured.percentile(metric, share, **labels) for name, share in SHARES.items()},
    }


def _steps(period: ReportPeriod, steps: list[Measured]) -> Table:
    rows: list[Row] = [
        {"key": step.first.isoformat(), "when": step.short_name, **_figures(FIRST_TOKEN, measured.period)}
        for step, measured in zip(period.steps, steps, strict=True)
    ]
    columns = (Column("when", _("When")), *_seconds_columns())
    return Table("steps", _("First token over time"), columns, rows, charted=("p50_seconds", "p95_seconds"))


def _outcomes(measured: Period) -> Table:
    titles = (_("completed"), _("from the cache"), _("stopped"), _("cancelled"), _("failed"))
    columns = [Column(key, title, Unit.COUNT) for key, title in zip(OUTCOMES, titles, strict=True)]
    rows = [_row_of_outcomes(measured, model) for model in _models(measured)]
    together = _row_of_outcomes(measured, None)
    percent = Column("failed_percent", _("failed, %"), Unit.PERCENT)
    return Table(
        "outcomes", _("How answers ended"), (Column("model", _("Model")), *columns, percent), rows, last=together
    )


def _row_of_outcomes(measured: Period, model: str | None) -> Row:
    labels = {} if model is None else {MODEL: model}
    counts = {outcome: measured.amount(ANSWERS, outcome=outcome, **labels) for outcome in OUTCOMES}
    ended = sum(counts.values())
    failed_percent = 100 * counts["failed"] / ended if ended else None
    return {"key": model or "all", "model": model or _("Together"), **counts, "failed_percent": failed_percent}


def _models(measured: Period) -> list[str]:
    place = ANSWERS.labels.index(MODEL)
    return sorted(
        {labels[place] for (name, labels), one in measured.sums.series.items() if name == ANSWERS.name and one.amount}
    )


def _proof(whole: Measured) -> Proof:
    answers = whole.period.amount(ANSWERS)
    if whole.begin is None or whole.end is None or whole.begin == whole.end:
        text = _("Samples are kept for two years, and taken every ten seconds while beat and a default worker run.")
        return Proof(is_good=False, heading=_("There is no sample of this period."), text=text, figures={"answers": 0})
    words = _("Counted are the {answers} answers that ended from {begin} to {end}, which is when samples were taken.")
    return Proof(
        is_good=True,
        heading=_("Times are measured, and have no part in what is charged."),
        text=words.format(answers=answers, begin=_moment(whole.begin), end=_moment(whole.end)),
        figures={"answers": answers},
    )


def _moment(moment: datetime) -> str:
    return f"{in_report_zone(moment):%Y-%m-%d %H:%M:%S} ({settings.REPORTING_TIME_ZONE})"
