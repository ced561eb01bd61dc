"""Decides when a process counts as silent: only the database's clock counts, and only time when it was reachable.

The clocks of machines differ, and are changed. And while the database is away, no process can write a heartbeat. So
heartbeats are written with the database's clock and compared with it. The sweeper notes in one row each time that it
reaches the database: `watched_since` is the time when the database last came back after a gap. A process is silent if
it wrote no heartbeat for WORKER_SILENT_SECONDS, and there was no gap in that time (docs/adr/0031).
"""

from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import BooleanField, Func

# A share of WORKER_SILENT_SECONDS. After a longer gap between two looks, the database counts as having been away.
GAP_SHARE = 0.7

LOOK = """
INSERT INTO inference_databasewatch (id, seen_at, watched_since) VALUES (1, clock_timestamp(), clock_timestamp())
ON CONFLICT (id) DO UPDATE SET seen_at = clock_timestamp(), watched_since = CASE
    WHEN clock_timestamp() - inference_databasewatch.seen_at BETWEEN interval '0' AND {gap}
    THEN inference_databasewatch.watched_since ELSE clock_timestamp() END"""

IS_SILENT = """(
    {heard_at} < clock_timestamp() - {patience} AND EXISTS (
        SELECT FROM inference_databasewatch w WHERE w.watched_since < clock_timestamp() - {patience}
        AND w.seen_at > clock_timestamp() - {gap}))"""


def look() -> None:
    """Note that the database was reachable now. Every sweep begins with this."""
    with connection.cursor() as cursor:
        cursor.execute(LOOK.format(gap=_gap()))


def is_silent(heard_at: str) -> str:
    """SQL: whether the heartbeat in this column is too old. A statement that acts on it must check it again itself."""
    return IS_SILENT.format(heard_at=heard_at, patience=_interval(settings.WORKER_SILENT_SECONDS), gap=_gap())


class Silent(Func):
    """The same condition for ORM queries: whether the heartbeat in a column is too old."""

    output_field = BooleanField()

    def as_sql(self, *arguments: Any, **options: Any) -> tuple[str, Any]:
        return super().as_sql(*arguments, **{**options, "template": is_silent("%(expressions)s")})


def _gap() -> str:
    return _interval(settings.WORKER_SILENT_SECONDS * GAP_SHARE)


def _interval(seconds: float) -> str:
    return f"make_interval(secs => {float(seconds)!r})"
