"""What of billing is deleted or emptied once it is old. The books are kept: entries, orders, and that an event came."""

from typing import Any

from django.conf import settings
from django.db.models import Q, QuerySet

from accounts.purge import days_ago, delete, in_batches
from billing.models import Notice, PaymentEvent


def purge_notices() -> int:
    """Delete the notices that were read some time ago, and those that are old, read or not; return how many."""
    read = Q(read_at__lt=days_ago(settings.KEEP_READ_NOTICES_DAYS))
    old = Q(created_at__lt=days_ago(settings.KEEP_NOTICES_DAYS))
    return in_batches(Notice.objects.filter(read | old), delete)


def empty_events() -> int:
    """Empty the bodies of old webhook events, in which the payer's name and address may stand; return how many.

    The row stays, so that the event is not processed again. One that is still open keeps its body: somebody must look.
    """
    old = PaymentEvent.objects.filter(received_at__lt=days_ago(settings.KEEP_EVENT_BODIES_DAYS))
    return in_batches(old.filter(processed_at__isnull=False).exclude(payload={}), _empty)


def _empty(events: QuerySet[Any]) -> int:
    return events.update(payload={})
