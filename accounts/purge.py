"""Deletes old rows: log-ins that have ended, mails, and the notes of the admin.

`billing.purge` does the same for the tables of billing.

Age is measured by the database's clock, so that a machine whose clock is wrong deletes nothing early.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Now

from accounts.models import ApiSession, OutgoingMail

BATCH_ROWS = 1000
MOST_BATCHES = 1000  # of one kind in a run; the next day's run deletes the rest


def purge_logins() -> int:
    """Delete the pages' sessions that have expired, and the API's log-ins that ended long ago; return how many."""
    long_ago = days_ago(settings.KEEP_ENDED_LOGINS_DAYS)
    expired = Session.objects.filter(expire_date__lt=Now())
    ended = ApiSession.objects.filter(Q(revoked_at__lt=long_ago) | Q(expires_at__lt=long_ago))
    sessions = Session.objects.filter(session_key=OuterRef("session_key"))
    return in_batches(expired, delete) + in_batches(ended, delete) + in_batches(_without(sessions), delete)


def _without(sessions: QuerySet[Session]) -> QuerySet[UserSession]:
    """What allauth noted of sessions that are no longer there."""
    rows: QuerySet[UserSession] = UserSession.objects.filter(~Exists(sessions))
    return rows


def purge_mails() -> int:
    """Delete mails that are KEEP_MAILS_DAYS old, whose text is already deleted; return how many."""
    return in_batches(OutgoingMail.objects.filter(created_at__lt=days_ago(settings.KEEP_MAILS_DAYS)), delete)


def purge_admin_log() -> int:
    """Delete Django's own notes of what staff saved in the admin; return how many. The audit log has them for good."""
    return in_batches(LogEntry.objects.filter(action_time__lt=days_ago(settings.KEEP_ADMIN_LOG_DAYS)), delete)


def days_ago(days: int) -> CombinedExpression:
    """The database's current time minus this number of days."""
    return Now() - timedelta(days=days)


def delete(rows: QuerySet[Any]) -> int:
    """Delete these rows and return how many."""
    return rows.delete()[0]


def in_batches(rows: QuerySet[Any], purge: Callable[[QuerySet[Any]], int]) -> int:
    """Purge these rows, BATCH_ROWS in each transaction; return how many.

    Each batch checks again that its rows still match, so a row that was renewed meanwhile stays.
    """
    purged = 0
    for _batch in range(MOST_BATCHES):
        ids = list(rows.values_list("pk", flat=True)[:BATCH_ROWS])
        purged += purge(rows.filter(pk__in=ids))
        if len(ids) < BATCH_ROWS:
            break
    return purged
