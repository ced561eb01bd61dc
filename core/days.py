"""Days and months of UTC, and days of the reports' time zone: when they begin and end."""

from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

from django.conf import settings
from django.utils import timezone


def first_moment(day: date) -> datetime:
    """Midnight, at which a UTC day begins."""
    return datetime.combine(day, time.min, UTC)


def last_moment(day: date) -> datetime:
    """The last microsecond of a UTC day."""
    return datetime.combine(day, time.max, UTC)


def month_of(moment: datetime) -> date:
    """The first day of the UTC month that a moment lies in."""
    return moment.astimezone(UTC).date().replace(day=1)


def this_month() -> date:
    """The first day of the running UTC month."""
    return month_of(timezone.now())


def in_report_zone(moment: datetime) -> datetime:
    """The same moment by the clocks of the reports' time zone."""
    return moment.astimezone(ZoneInfo(settings.REPORTING_TIME_ZONE))


def report_day_of(moment: datetime) -> date:
    """The day of the reports that a moment lies in."""
    return in_report_zone(moment).date()


def begin_of_report_day(day: date) -> datetime:
    """The moment, in UTC, at which a day of the reports begins: the first of it where the clocks skip midnight."""
    return datetime.combine(day, time.min, ZoneInfo(settings.REPORTING_TIME_ZONE)).astimezone(UTC)
