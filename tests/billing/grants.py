"""Grants that the tests give, and what they spend of them."""

from datetime import timedelta
from uuid import uuid4

from django.utils import timezone

from billing import ledger
from billing.models import EntryKind, Grant
from tests.billing.holds import open_hold

DAY = timedelta(days=1)


def give(user, microcredits, kind=EntryKind.BONUS, expires_in=None):
    """Grant credits and return the grant."""
    entry = ledger.grant(
        user=user,
        kind=kind,
        amount_microcredits=microcredits,
        idempotency_key=str(uuid4()),
        reason="test",
        expires_at=None if expires_in is None else timezone.now() + expires_in,
    )
    return entry.grant


def spend(user, completion_tokens):
    """Pay for an answer of one prompt token (20) and this many (40 each); return its hold."""
    hold = open_hold(user, 1, max(completion_tokens, 1))
    return ledger.settle(hold_id=hold.pk, completion_tokens=completion_tokens)


def left(*grants):
    return [Grant.objects.get(pk=grant.pk).remaining_microcredits for grant in grants]
