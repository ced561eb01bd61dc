"""Tells operators of an alert: by e-mail, through the outbox, and by the webhook, whose messages wait in a table."""

import json
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.core.mail import send_mail
from django.template.loader import render_to_string
from django.urls import reverse

from accounts.models import User
from accounts.staff.roles import OPERATOR
from monitoring.alerts.rules import RULES
from monitoring.models import Alert, AlertDelivery, AlertEvent


class News(StrEnum):
    """What is told of an alert; the webhook's `event`."""

    OPENED = "alert.opened"
    REMINDED = "alert.reminded"
    CLOSED = "alert.closed"


def title_of(alert: Alert) -> str:
    """In a few words what is wrong."""
    rule = RULES.get(alert.rule)
    return str(rule.title).format(about=alert.about) if rule else f"{alert.rule} {alert.about}".strip()


def is_muted(alert: Alert, now: datetime) -> bool:
    """Whether operators want to hear nothing of it now."""
    return alert.muted_until is not None and alert.muted_until > now


def tell(alert: Alert, news: News, now: datetime) -> None:
    """Write the mails and the webhook's message. Call it in the transaction of what they tell of."""
    recipients = settings.ALERT_EMAILS or list(_operators())
    context = _describe(alert, news)
    lines = render_to_string("monitoring/mail/alert.txt", {"alert": alert, "news": news.value, **context}).strip()
    subject, _blank, text = lines.partition("\n")
    for recipient in recipients:
        send_mail(subject, text.strip() + "\n", None, [recipient])
    said = f"E-mail to {len(recipients)} operator{'s' * (len(recipients) != 1)}"
    if settings.ALERT_WEBHOOK_URL:
        delivery_id = uuid4()
        body = json.dumps({"id": str(delivery_id), "event": news.value, "at": now.isoformat(), "alert": context})
        AlertDelivery.objects.create(id=delivery_id, alert=alert, body=body, created_at=now, due_at=now)
        said += ", and a message to the webhook"
    AlertEvent.objects.create(alert=alert, at=now, text=said)


def _operators() -> Any:
    people = User.objects.filter(is_active=True, is_staff=True, groups__name=OPERATOR)
    return people.order_by("pk").values_list("email", flat=True)


def _describe(alert: Alert, news: News) -> dict[str, Any]:
    """What the receiver of a webhook learns, and the mail says."""
    rule = RULES.get(alert.rule)
    runbook = reverse("monitoring:runbook") + (f"#{rule.anchor}" if rule else "")
    return {
        "number": alert.pk,
        "rule": alert.rule,
        "about": alert.about,
        "severity": "critical" if alert.is_critical else "warning",
        "state": "closed" if news == News.CLOSED else "open",
        "title": title_of(alert),
        "detail": alert.detail,
        "value": alert.value,
        "limit": alert.limit,
        "opened_at": alert.opened_at.isoformat() if alert.opened_at else None,
        "closed_at": alert.closed_at.isoformat() if alert.closed_at else None,
        "url": settings.PUBLIC_URL + reverse("monitoring:alert", args=[alert.pk]),
        "runbook_url": settings.PUBLIC_URL + runbook,
    }
