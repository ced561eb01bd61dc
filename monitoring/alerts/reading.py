"""What the pages show of alerts."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median

from django.db import DatabaseError
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.timesince import timesince

from monitoring.alerts.judging import Finding
from monitoring.alerts.rules import RULES, Rule
from monitoring.models import Alert, AlertState
from monitoring.totals.adding import limited_transaction

BESIDE = timedelta(hours=1)  # alerts that opened so long before another, or after it, may have to do with it
BEFORE = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class Match:
    """What is wrong now, and its alert if one is open."""

    finding: Finding
    alert: Alert | None


@dataclass(frozen=True, slots=True)
class Earlier:
    """The same alert before: the latest ones, how many there were in 90 days, and their median length in words."""

    latest: list[Alert]
    count: int
    usual: str


def match_open(findings: Iterable[Finding]) -> list[Match]:
    """Each finding with its alert, with none if the alerts cannot be read."""
    try:
        with limited_transaction():
            alerts = {(alert.rule, alert.about): alert for alert in Alert.objects.open()}
    except DatabaseError:
        alerts = {}
    return [Match(finding, alerts.get((finding.rule.name, finding.about))) for finding in findings]


def count_open() -> int | None:
    """How many alerts are open; None if they cannot be read."""
    try:
        with limited_transaction():
            return Alert.objects.open().count()
    except DatabaseError:
        return None


def at_the_same_time(alert: Alert) -> QuerySet[Alert]:
    """Other alerts that opened about then, the earliest first."""
    opened_at = alert.opened_at or alert.over_since
    about_then = Alert.objects.told().filter(opened_at__range=(opened_at - BESIDE, opened_at + BESIDE))
    return about_then.exclude(pk=alert.pk).order_by("opened_at")[:10]


def earlier(alert: Alert) -> Earlier:
    """The same alert in the 90 days before."""
    same = Alert.objects.filter(rule=alert.rule, about=alert.about, state=AlertState.CLOSED).exclude(pk=alert.pk)
    rows = list(same.filter(opened_at__gte=timezone.now() - BEFORE).order_by("-opened_at")[:100])
    seconds = [(row.closed_at - row.opened_at).total_seconds() for row in rows if row.closed_at and row.opened_at]
    now = timezone.now()
    return Earlier(rows[:5], len(rows), timesince(now - timedelta(seconds=median(seconds)), now) if seconds else "")


def rule_of(alert: Alert) -> Rule | None:
    """Its rule; None if that belonged to an earlier version."""
    return RULES.get(alert.rule)


def times_of(alert: Alert) -> list[tuple[datetime, float]]:
    """Its figures with their times."""
    return [(datetime.fromtimestamp(seconds, UTC), value) for seconds, value in alert.figures]
