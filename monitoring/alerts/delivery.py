"""Delivers the messages of the webhook, each at least once: one that is not taken is tried again, for three days.

A message is claimed by putting off its next try, so two workers do not send it at the same time. If a worker dies in
between, it is sent again with the same id. Nothing is locked and no database connection is held while the receiver is
waited for, and after one failure the others wait for the next time: a receiver that is down takes few seconds a minute.
"""

import logging
from datetime import timedelta

from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone

from monitoring.alerts import webhook
from monitoring.models import AlertDelivery
from monitoring.totals.adding import limited_transaction

logger = logging.getLogger(__name__)

PAUSES = [timedelta(seconds=seconds) for seconds in (15, 30, 60, 120, 300, 600, 1800)]
LONGEST_PAUSE = timedelta(hours=1)
TRIED_FOR = timedelta(days=3)
CLAIM = timedelta(seconds=6 * webhook.SECONDS)
MOST_AT_ONCE = 20


def deliver_due() -> int:
    """Send what is due, the oldest first, until one is not taken. Returns how many were taken. Raises DatabaseError."""
    for taken_count in range(MOST_AT_ONCE):
        delivery = _claim_next()
        if delivery is None or not _deliver(delivery):
            return taken_count
    return MOST_AT_ONCE


def _claim_next() -> AlertDelivery | None:
    now = timezone.now()
    with limited_transaction():
        due = AlertDelivery.objects.filter(due_at__lte=now).order_by("created_at")
        delivery = due.select_for_update(skip_locked=True).first()
        if delivery is not None:
            AlertDelivery.objects.filter(pk=delivery.pk).update(due_at=now + CLAIM, tries_count=F("tries_count") + 1)
            delivery.tries_count += 1
        return delivery


def _deliver(delivery: AlertDelivery) -> bool:
    """Send one. Returns whether it was taken."""
    if not transaction.get_connection().in_atomic_block:  # always so in a task, not in many tests
        connection.close()
    try:
        webhook.post(str(delivery.pk), delivery.body, timezone.now())
    except webhook.NotTaken as error:
        _put_off(delivery, str(error)[:300])
        return False
    with limited_transaction():
        AlertDelivery.objects.filter(pk=delivery.pk).update(due_at=None, taken_at=timezone.now(), error="")
    return True


def _put_off(delivery: AlertDelivery, error: str) -> None:
    now = timezone.now()
    pause = PAUSES[delivery.tries_count - 1] if delivery.tries_count <= len(PAUSES) else LONGEST_PAUSE
    due_at = now + pause if now - delivery.created_at < TRIED_FOR else None
    with limited_transaction():
        AlertDelivery.objects.filter(pk=delivery.pk).update(due_at=due_at, error=error)
    level = logging.WARNING if due_at else logging.CRITICAL
    logger.log(level, "the webhook did not take %s, try %d: %s", delivery.pk, delivery.tries_count, error)
