"""How alerts open and close. A reason must hold for a while before either, so that nothing comes and goes.

While the figures of a rule cannot be read, its alerts stay as they are. An alert that an operator resolved is quiet as
long as its reason stays, for a day at most: then it opens again.
"""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from django.conf import settings

from monitoring.alerts.judging import Finding
from monitoring.alerts.notices import News, is_muted, tell
from monitoring.alerts.rules import RULES, Rule
from monitoring.models import Alert, AlertEvent, AlertState

RESOLVED_FOR = timedelta(days=1)
KEPT_FIGURES = 120  # an hour of rounds
MUTED_UNTIL_IT_CLOSES = timedelta(days=3650)  # so far ahead that the alert ends before; a later one is not muted


def follow(findings: Iterable[Finding], *, is_unknown: Callable[[Rule], bool], now: datetime) -> None:
    """Bring the alerts up to what is wrong now, and tell what is new. The caller holds the round's lock."""
    current = {(alert.rule, alert.about): alert for alert in Alert.objects.current()}
    for finding in findings:
        _note_reason(current.pop((finding.rule.name, finding.about), None), finding, now)
    for alert in current.values():
        rule = RULES.get(alert.rule)  # an earlier version may have had other rules
        if rule is None or not is_unknown(rule):
            _note_no_reason(alert, now)
    _tell_what_is_new(now)


def _note_reason(alert: Alert | None, finding: Finding, now: datetime) -> None:
    rule = finding.rule
    if alert is None:
        alert = Alert(rule=rule.name, about=finding.about, is_critical=rule.is_critical, over_since=now)
    alert.detail, alert.value, alert.limit, alert.fine_since = finding.detail[:500], finding.value, finding.limit, None
    if finding.value is not None:
        alert.figures = [*alert.figures, [round(now.timestamp()), round(finding.value, 2)]][-KEPT_FIGURES:]
    is_over_long_enough = alert.state == AlertState.PENDING and now - alert.over_since >= rule.opens_after
    if is_over_long_enough or _was_resolved_long_ago(alert, now):
        _open(alert, now)
    else:
        alert.save()


def _was_resolved_long_ago(alert: Alert, now: datetime) -> bool:
    return (
        alert.state == AlertState.RESOLVED and alert.resolved_at is not None and now - alert.resolved_at >= RESOLVED_FOR
    )


def _open(alert: Alert, now: datetime) -> None:
    """Open it, muted if operators muted the one before it for a time that is not over."""
    is_again = alert.state == AlertState.RESOLVED
    alert.state, alert.resolved_at, alert.taken_at, alert.taken_by = AlertState.OPEN, None, None, None
    alert.told_at = alert.reminded_at = None
    if not is_again:
        alert.opened_at = now
        alert.muted_until = _muted_before(alert, now)
    alert.save()
    words = "Opened again: it is still so." if is_again else f"Opened: {alert.detail}"
    AlertEvent.objects.create(alert=alert, at=now, text=words)


def _muted_before(alert: Alert, now: datetime) -> datetime | None:
    until = now + MUTED_UNTIL_IT_CLOSES / 2
    before = Alert.objects.told().filter(rule=alert.rule, about=alert.about, muted_until__range=(now, until))
    return before.order_by("-muted_until").values_list("muted_until", flat=True).first()


def _note_no_reason(alert: Alert, now: datetime) -> None:
    if alert.state == AlertState.PENDING:
        alert.delete()
        return
    alert.fine_since = alert.fine_since or now
    if now - alert.fine_since < timedelta(seconds=settings.ALERT_CLOSE_SECONDS):
        alert.save(update_fields=["fine_since"])
        return
    was_open = alert.state == AlertState.OPEN
    alert.state, alert.closed_at = AlertState.CLOSED, now
    alert.save(update_fields=["fine_since", "state", "closed_at"])
    AlertEvent.objects.create(alert=alert, at=now, text="Closed: its reason has gone.")
    if was_open and alert.told_at and not is_muted(alert, now):
        tell(alert, News.CLOSED, now)


def _tell_what_is_new(now: datetime) -> None:
    """Tell of each open alert once, and of a critical one that nobody has taken once more."""
    for alert in Alert.objects.open():
        if is_muted(alert, now):
            continue
        if alert.told_at is None:
            tell(alert, News.OPENED, now)
            alert.told_at = now
        elif alert.is_critical and not alert.taken_at and not alert.reminded_at and _is_time_to_remind(alert, now):
            tell(alert, News.REMINDED, now)
            alert.reminded_at = now
        else:
            continue
        alert.save(update_fields=["told_at", "reminded_at"])


def _is_time_to_remind(alert: Alert, now: datetime) -> bool:
    return alert.told_at is not None and now - alert.told_at >= timedelta(seconds=settings.ALERT_REMIND_SECONDS)
