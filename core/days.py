"""Where a UTC day begins and ends."""

from datetime import UTC, date, datetime, time


def first_moment(day: date) -> datetime:
    """Midnight, at which a UTC day begins."""
    return datetime.combine(day, time.min, UTC)


def last_moment(day: date) -> datetime:
    """The last microsecond of a UTC day."""
    return datetime.combine(day, time.max, UTC)
