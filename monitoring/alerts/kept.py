"""What is noted for the rules between the rounds, and what of the alerts is deleted in the end."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from monitoring.models import Alert, AlertRound, AlertState
from monitoring.processes import forget_the_lost

KEPT = timedelta(days=400)  # closed alerts, with all that happened to them


def note_certificate(ends_at: datetime | None) -> None:
    """Until when the certificate is valid; None if there is none."""
    _note(certificate_ends_at=ends_at)


def note_backup() -> datetime:
    """A backup was made just now."""
    now = timezone.now()
    _note(backup_at=now)
    return now


def note_payments_compared(*, findings: Sequence[object], **_kwargs: Any) -> None:
    """How many differences the daily comparison with Stripe found. The receiver of `payments_compared`."""
    _note(payment_differences=len(findings))


def delete_old() -> None:
    """Delete closed alerts that are old, and what is known of processes that are gone."""
    Alert.objects.filter(state=AlertState.CLOSED, closed_at__lt=timezone.now() - KEPT).delete()
    forget_the_lost()


def _note(**columns: Any) -> None:
    AlertRound.objects.update_or_create(pk=1, defaults=columns)
