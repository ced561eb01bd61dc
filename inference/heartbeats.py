"""When somebody counts as silent: by the database's clock alone, and not for a time in which it was away itself.

Machines have clocks that differ, and that are set. And while the database pauses, nobody can say that they are alive.
So heartbeats are written with the database's clock, and compared with it. A row notes that the sweeper has seen the
database again and again: `watched_since` is when it last came back after a pause. Silent is who was not heard of for
WORKER_SILENT_SECONDS, all of which were watched without a gap (docs/adr/0031).
"""

from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import BooleanField, Func

GAP_SHARE = 0.7  # of WORKER_SILENT_SECONDS: a gap between two looks that counts as the database having been away

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
    """Note that the database is there. Every sweep begins with it."""
    with connection.cursor() as cursor:
        cursor.execute(LOOK.format(gap=_gap()))


def is_silent(heard_at: str) -> str:
    """SQL: whether the time in this column is too long ago. Asked again in the statement that acts on it."""
    return IS_SILENT.format(heard_at=heard_at, patience=_interval(settings.WORKER_SILENT_SECONDS), gap=_gap())


class Silent(Func):
    """The same for queries: whether the time in a column is too long ago."""

    output_field = BooleanField()

    def as_sql(self, *arguments: Any, **options: Any) -> tuple[str, Any]:
        return super().as_sql(*arguments, **{**options, "template": is_silent("%(expressions)s")})


def _gap() -> str:
    return _interval(settings.WORKER_SILENT_SECONDS * GAP_SHARE)


def _interval(seconds: float) -> str:
    return f"make_interval(secs => {float(seconds)!r})"
