"""The period of a report: whole days of the reports' time zone, and what is wrong with one that somebody wrote."""

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from django.conf import settings
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from core.days import begin_of_report_day, report_day_of

MOST_DAYS = 366
DAY = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
EARLIEST = date(2000, 1, 1)
MOST_SHOWN_BY_DAY = 62  # days; a longer period is shown by month


class PeriodRefused(Exception):
    """There is no report of this period. `field` is the end that is wrong, and the message says what to do."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class ReportPeriod:
    """From one day to another, both included."""

    first: date
    last: date

    @property
    def begin(self) -> datetime:
        """Its first moment, in UTC."""
        return begin_of_report_day(self.first)

    @property
    def end(self) -> datetime:
        """The first moment after it, in UTC."""
        return begin_of_report_day(self.last + timedelta(days=1))

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self.end > timezone.now()

    @property
    def days(self) -> list[date]:
        """All of its days."""
        return [self.first + timedelta(days=passed) for passed in range((self.last - self.first).days + 1)]

    @property
    def steps(self) -> list["ReportPeriod"]:
        """Its days, or its months if it is long: what charts and their tables show."""
        if len(self.days) <= MOST_SHOWN_BY_DAY:
            return [ReportPeriod(day, day) for day in self.days]
        months: dict[tuple[int, int], list[date]] = {}
        for day in self.days:
            months.setdefault((day.year, day.month), []).append(day)
        return [ReportPeriod(days[0], days[-1]) for days in months.values()]

    @property
    def name(self) -> str:
        """For headings: a day, a month, or from when to when."""
        after = self.last + timedelta(days=1)
        if self.first == self.last:
            return date_format(self.first, _("j F Y"))
        if self.first.day == after.day == 1 and (after - self.first).days <= 31:
            return date_format(self.first, "F Y")
        first, last = (date_format(day, _("j F Y")) for day in (self.first, self.last))
        return _("{first} to {last}").format(first=first, last=last)

    @property
    def short_name(self) -> str:
        """For axes and first columns: the day, or the month."""
        return date_format(self.first, _("j M")) if self.first == self.last else date_format(self.first, "M Y")


def today() -> date:
    """The day that it is in the reports' time zone."""
    return report_day_of(timezone.now())


def this_month() -> ReportPeriod:
    """From the first of the running month until today."""
    return ReportPeriod(today().replace(day=1), today())


def last_month() -> ReportPeriod:
    """The last whole month."""
    last = today().replace(day=1) - timedelta(days=1)
    return ReportPeriod(last.replace(day=1), last)


def yesterday() -> ReportPeriod:
    """The last whole day."""
    day = today() - timedelta(days=1)
    return ReportPeriod(day, day)


def read_period(first: str, last: str) -> ReportPeriod:
    """Return the period between two days as people write them; empty ones are those of the running month.

    Raises PeriodRefused.
    """
    default = this_month()
    until = _read_day("to", last) if last else default.last
    since = _read_day("from", first) if first else min(until, today()).replace(day=1)
    if until < since:
        raise PeriodRefused("to", _("This day is before the first one. Exchange the two."))
    if until > today():
        message = _("This day has not come yet: today is {today} ({zone}). Write today or an earlier day.")
        raise PeriodRefused("to", message.format(today=today().isoformat(), zone=settings.REPORTING_TIME_ZONE))
    if since < EARLIEST:
        message = _("There are no figures from before {day}. Write a later day.")
        raise PeriodRefused("from", message.format(day=EARLIEST.isoformat()))
    if (until - since).days >= MOST_DAYS:
        message = _("A report covers {most} days at most. Ask for one year after the other.")
        raise PeriodRefused("to", message.format(most=MOST_DAYS))
    return ReportPeriod(since, until)


def _read_day(field: str, text: str) -> date:
    try:
        if DAY.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    message = _("“{text}” is no day of the calendar. Write one as 2026-01-31.")
    raise PeriodRefused(field, message.format(text=text[:20]))
