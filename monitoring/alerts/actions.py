"""What operators do with an alert. Each action happens once, however often it is asked for, and is in the audit log.

Records are in English, whoever reads them later.
"""

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID, uuid4

from django.db import transaction
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from accounts import audit
from accounts.models import User
from monitoring.alerts.notices import title_of
from monitoring.alerts.states import MUTED_UNTIL_IT_CLOSES
from monitoring.models import Alert, AlertEvent, AlertState

MUTE_HOURS = {"1": timedelta(hours=1), "8": timedelta(hours=8), "24": timedelta(hours=24)}
UNTIL_IT_CLOSES = "end"


class AlertIsOver(Exception):
    """The alert is not open any more, so there is nothing to do about it."""


def acknowledge(*, alert_id: int, by: User) -> None:
    """Say that somebody works on it: nobody is reminded any more. Only the first counts. Raises AlertIsOver."""

    def take(alert: Alert) -> bool:
        if alert.taken_at:
            return False
        alert.taken_at, alert.taken_by = timezone.now(), by
        return True

    _do(alert_id, by, "alert acknowledged", "Acknowledged", take)


def resolve(*, alert_id: int, by: User) -> None:
    """End it before its reason has gone. It stays quiet for a day at most. Raises AlertIsOver."""

    def end(alert: Alert) -> bool:
        if alert.state != AlertState.OPEN:
            return False
        alert.state, alert.resolved_at = AlertState.RESOLVED, timezone.now()
        return True

    _do(alert_id, by, "alert resolved", "Resolved", end)


def mute(*, alert_id: int, by: User, how_long: str) -> None:
    """Tell nothing of it for a time: a key of MUTE_HOURS, or UNTIL_IT_CLOSES. Raises AlertIsOver, and KeyError."""
    length = MUTED_UNTIL_IT_CLOSES if how_long == UNTIL_IT_CLOSES else MUTE_HOURS[how_long]

    def silence(alert: Alert) -> bool:
        alert.muted_until = timezone.now() + length
        return True

    words = "Muted until it closes" if how_long == UNTIL_IT_CLOSES else f"Muted for {how_long} h"
    _do(alert_id, by, "alert muted", words, silence)


def unmute(*, alert_id: int, by: User) -> None:
    """Tell of it again. Raises AlertIsOver."""

    def speak(alert: Alert) -> bool:
        was_muted, alert.muted_until = alert.muted_until is not None, None
        return was_muted

    _do(alert_id, by, "alert unmuted", "Unmuted", speak)


@transaction.atomic
def add_note(*, alert_id: int, by: User, text: str, key: UUID) -> None:
    """Write a note for the others. The same key writes it once. Raises Alert.DoesNotExist."""
    alert = Alert.objects.told().select_for_update().get(pk=alert_id)
    _event, is_new = AlertEvent.objects.get_or_create(alert=alert, key=key, defaults={"by": by, "text": text})
    if is_new:
        audit.record(actor=by, action="alert noted", alert=alert.pk, rule=alert.rule, about=alert.about)


@transaction.atomic
def _do(alert_id: int, by: User, action: str, words: str, change: Callable[[Alert], bool]) -> None:
    """Change the alert, and note who did it. Nothing is noted if nothing changed. Raises Alert.DoesNotExist."""
    alert = Alert.objects.told().select_for_update(of=("self",)).get(pk=alert_id)
    if alert.state == AlertState.CLOSED:
        raise AlertIsOver(_("This alert has closed meanwhile."))
    if not change(alert):
        return
    alert.save()
    AlertEvent.objects.create(alert=alert, by=by, text=words, key=uuid4())
    with translation.override(None):
        audit.record(actor=by, action=action, alert=alert.pk, title=title_of(alert), details=words)
