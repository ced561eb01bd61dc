"""Charts of the last hour, day, week and month: rates and percentiles of samples, and gaps where nothing is known."""

from datetime import UTC, datetime, timedelta
from unittest import mock

import pytest

from monitoring.history import SPANS, read_history
from monitoring.reports.lines import draw_lines
from monitoring.reports.tables import Column, Table, Unit
from monitoring.totals.metrics import ANSWERS, CREDITS, FIRST_TOKEN, TOKEN_USAGE, Sums
from monitoring.totals.samples import take_sample

NOW = datetime(2026, 11, 30, 12, 0, 0, tzinfo=UTC)


@pytest.fixture
def sums(db, monkeypatch):
    """The totals that each sample takes."""
    totals = Sums()
    monkeypatch.setattr("monitoring.totals.samples.read_totals", lambda: totals)
    return totals


def sample(moment):
    with mock.patch("django.utils.timezone.now", return_value=moment):
        take_sample()


def tables(name="hour"):
    return {table.key: table for table in read_history(SPANS[name], NOW)}


def test_rates_are_amounts_by_the_seconds_between_two_samples(sums, django_assert_num_queries):
    sample(NOW - timedelta(minutes=2))
    sums.count(ANSWERS, ("m", "completed"), 90)
    sums.count(ANSWERS, ("m", "failed"), 30)
    sums.count(CREDITS, ("usage", "out"), 6_000_000)
    sums.observe_many(TOKEN_USAGE, ("m", "output"), 3, 100, 1200)
    sums.observe_many(FIRST_TOKEN, ("m",), FIRST_TOKEN.bucket_of(0.3), 100, 30_000_000)
    sample(NOW - timedelta(minutes=1))
    sample(NOW)
    with django_assert_num_queries(1):
        found = tables()
    before, after = found["over-answers"].rows[-2:]
    assert (before["ended"], before["failed"]) == (2.0, 0.5)
    assert (after["ended"], after["failed"]) == (0.0, 0.0)
    assert found["over-credits"].rows[-2]["spent"] == 0.1
    assert found["over-tokens"].rows[-2]["m"] == 20.0
    assert 0.25 < found["over-first"].rows[-2]["p95"] <= 0.5
    assert found["over-first"].rows[-1]["p95"] is None
    assert before["when"] == "11:58"


@pytest.mark.parametrize(("name", "steps"), [("hour", 60), ("day", 48), ("week", 56), ("month", 60)])
def test_each_span_has_its_steps_and_unknown_ones_are_unknown(sums, name, steps):
    found = tables(name)
    assert {len(table.rows) for table in found.values()} == {steps}
    assert found["over-answers"].rows[0]["ended"] is None
    assert draw_lines(found["over-answers"]) is None


def test_a_pause_of_samples_is_a_gap_and_its_answers_are_spread_over_it(sums):
    sample(NOW - timedelta(minutes=60))
    sums.count(ANSWERS, ("m", "completed"), 600)
    sample(NOW - timedelta(minutes=50))
    rows = tables()["over-answers"].rows
    assert [row["ended"] for row in rows[:3]] == [1.0, None, None]


def chart_of(*values):
    rows = [{"when": str(number), "n": value} for number, value in enumerate(values)]
    return draw_lines(Table("t", "T", (Column("when", "W"), Column("n", "N", Unit.RATE)), rows, charted=("n",)))


def test_what_is_unknown_breaks_the_line_and_one_value_alone_is_seen():
    chart = chart_of(1.0, 2.0, None, 4.0)
    assert [line.points for line in chart.lines] == ["12.50,75.00 37.50,50.00", "75.00,0.00 100.00,0.00"]
    assert [mark.text for mark in chart.marks] == ["4", "2", ""]


def test_nothing_at_all_is_a_line_at_the_bottom():
    assert chart_of(0.0, 0.0).lines[0].points == "25.00,100.00 75.00,100.00"
