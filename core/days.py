"""Days and months of UTC: when they begin and end."""

from datetime import UTC, date, datetime, time

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
