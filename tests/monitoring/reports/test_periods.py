"""The period of a report: whole days of one zone; and what is none is refused in words that say what to do."""

from datetime import UTC, date, datetime

import pytest
from django.utils import timezone

from monitoring.reports.periods import PeriodRefused, last_month, read_period, this_month, today, yesterday

NOW = datetime(2026, 11, 30, 23, 30, tzinfo=UTC)  # in Berlin it is December


@pytest.fixture(autouse=True)
def _now(monkeypatch):
    monkeypatch.setattr(timezone, "now", lambda: NOW)


@pytest.mark.parametrize(
    ("first", "last", "field", "words"),
    [
        ("2026-02-31", "", "from", "“2026-02-31” is no day of the calendar. Write one as 2026-01-31."),
        ("", "2026-02-31", "to", "is no day of the calendar"),
        ("2026-11-1", "", "from", "is no day of the calendar"),
        ("20261101", "", "from", "is no day of the calendar"),
        ("2026-W48-1", "", "from", "is no day of the calendar"),
        ("x" * 10_000, "", "from", "“xxxxxxxxxxxxxxxxxxxx” is no day"),
        ("2026-11-02", "2026-11-01", "to", "before the first one"),
        ("2016-11-30", "2026-11-30", "to", "A report covers 366 days at most. Ask for one year after the other."),
        ("2026-11-01", "2026-12-01", "to", "has not come yet: today is 2026-11-30 (UTC)"),
        ("9999-12-31", "9999-12-31", "to", "has not come yet"),
        ("0001-01-01", "0001-01-01", "from", "no figures from before 2000-01-01"),
    ],
)
def test_what_is_no_period_is_refused_and_says_what_to_do(first, last, field, words):
    with pytest.raises(PeriodRefused, match=r".") as refused:
        read_period(first, last)
    assert refused.value.field == field
    assert words in str(refused.value)


def test_366_days_are_a_report_and_one_more_is_none():
    assert len(read_period("2025-11-30", "2026-11-30").days) == 366
    with pytest.raises(PeriodRefused):
        read_period("2025-11-29", "2026-11-30")


def test_what_is_left_out_is_the_running_month_or_the_month_of_the_end():
    assert (read_period("", "").first, read_period("", "").last) == (date(2026, 11, 1), date(2026, 11, 30))
    assert read_period("", "2026-10-15").first == date(2026, 10, 1)
    assert read_period("2026-10-15", "").last == date(2026, 11, 30)


def test_today_is_that_of_the_reports_zone(settings):
    settings.REPORTING_TIME_ZONE = "Europe/Berlin"
    assert today() == date(2026, 12, 1)
    assert this_month().days == [date(2026, 12, 1)]
    assert (last_month().first, last_month().last) == (date(2026, 11, 1), date(2026, 11, 30))
    assert yesterday().days == [date(2026, 11, 30)]
    assert read_period("", "2026-12-01").is_running
    assert not read_period("", "2026-11-30").is_running


@pytest.mark.parametrize(
    ("first", "last", "name"),
    [
        ("2026-10-01", "2026-10-31", "October 2026"),
        ("2026-10-05", "2026-10-05", "5 October 2026"),
        ("2026-10-01", "2026-10-30", "1 October 2026 to 30 October 2026"),
        ("2026-09-01", "2026-10-31", "1 September 2026 to 31 October 2026"),
    ],
)
def test_its_name_is_for_people(first, last, name):
    assert read_period(first, last).name == name


def test_a_long_period_is_shown_by_month_and_no_day_is_lost():
    short, long = read_period("2026-09-01", "2026-10-31"), read_period("2025-12-15", "2026-11-20")
    assert len(short.steps) == 61
    assert [step.short_name for step in long.steps][:3] == ["Dec 2025", "Jan 2026", "Feb 2026"]
    assert [day for step in long.steps for day in step.days] == long.days


def test_moments_of_a_period_are_those_of_its_zone(settings):
    settings.REPORTING_TIME_ZONE = "Europe/Berlin"
    period = read_period("2026-03-29", "2026-03-29")
    assert (period.begin, period.end) == (datetime(2026, 3, 28, 23, tzinfo=UTC), datetime(2026, 3, 29, 22, tzinfo=UTC))
