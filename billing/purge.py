"""Deleting and emptying old rows. The books are kept: entries, orders, and the fact that an event came."""

from typing import Any

from django.conf import settings
from django.db.models import Q, QuerySet

from accounts.purge import days_ago, delete, in_batches
from billing.models import Notice, PaymentEvent


def purge_notices() -> int:
    """Delete notices some time after they were read, and old notices even if they were not; return how many."""
    read = Q(read_at__lt=days_ago(settings.KEEP_READ_NOTICES_DAYS))
    old = Q(created_at__lt=days_ago(settings.KEEP_NOTICES_DAYS))
    return in_batches(Notice.objects.filter(read | old), delete)


def empty_events() -> int:
    """Empty the bodies of old webhook events, which may contain the payer's name and address; return how many.

    The row stays, so that the event is not processed again. An event that is not processed yet keeps its body, because
    a person must look at it.
    """
    old = PaymentEvent.objects.filter(received_at__lt=days_ago(settings.KEEP_EVENT_BODIES_DAYS))
    return in_batches(old.filter(processed_at__isnull=False).exclude(payload={}), _empty)


def _empty(events: QuerySet[Any]) -> int:
    return events.update(payload={})
