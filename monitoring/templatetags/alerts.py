"""What templates say of an alert."""

from django import template
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from monitoring.alerts.notices import is_muted, title_of
from monitoring.alerts.states import MUTED_UNTIL_IT_CLOSES
from monitoring.models import Alert

register = template.Library()


@register.filter
def alert_title(alert: Alert) -> str:
    """In a few words what is wrong, in the reader's language."""
    return title_of(alert)


@register.filter
def alert_mute(alert: Alert) -> str:
    """Until when nothing is told of it; empty if it is not muted."""
    now = timezone.now()
    if alert.muted_until is None or not is_muted(alert, now):
        return ""
    if alert.muted_until > now + MUTED_UNTIL_IT_CLOSES / 2:
        return _("Muted until it closes.")
    return _("Muted until {at} UTC.").format(at=date_format(alert.muted_until, "j M, H:i"))
