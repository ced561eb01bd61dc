"""Refunds of a charge. The credits go back to the grants that paid it."""

from uuid import UUID

from django.db import transaction
from django.db.models import Sum

from accounts.models import User
from billing.ledger.entries import LedgerError, demand_positive, find_repeat, move
from billing.ledger.holds import HoldClosed, lock_hold
from billing.models import EntryKind, Hold, HoldState, LedgerEntry


class RefundTooLarge(LedgerError):
    """All refunds of a charge together would exceed it. `refundable_microcredits` is how much can still be refunded."""

    def __init__(self, *, refundable_microcredits: int) -> None:
        super().__init__(f"at most {refundable_microcredits} microcredits of this charge can be refunded")
        self.refundable_microcredits = refundable_microcredits


@transaction.atomic
def refund(
    *, hold_id: UUID, amount_microcredits: int, idempotency_key: str, reason: str, by: User | None
) -> LedgerEntry:
    """Give back a charge or a part of it, once for each key, to the grants that paid it.

    `by` is None for a refund that Tally makes by itself. Raises ValueError without a reason or for an amount that is
    not a positive integer, RefundTooLarge when all refunds together would exceed the charge, HoldClosed when nothing
    was charged, and IdempotencyConflict when the key was used with other inputs.
    """
    if not reason.strip():
        raise ValueError("a refund needs a reason")
    demand_positive(amount_microcredits)
    charged = lock_hold(hold_id)
    repeat = find_repeat(charged.wallet, EntryKind.REFUND, amount_microcredits, idempotency_key, charged)
    if repeat is not None:
        return repeat
    if charged.state != HoldState.SETTLED:
        raise HoldClosed(f"hold {hold_id} is {charged.state}: nothing was charged")
    refundable = _refundable_microcredits(charged)
    if amount_microcredits > refundable:
        raise RefundTooLarge(refundable_microcredits=refundable)
    return move(
        charged.wallet,
        kind=EntryKind.REFUND,
        amount_microcredits=amount_microcredits,
        idempotency_key=idempotency_key,
        reason=reason,
        by=by,
        hold=charged,
    )


@transaction.atomic
def refund_rest(*, hold_id: UUID, idempotency_key: str, reason: str) -> LedgerEntry | None:
    """Refund the rest of a charge, because we failed to deliver what was paid for. Once for each hold.

    Returns None when nothing was charged or nothing is left.
    """
    charged = lock_hold(hold_id)
    left = _refundable_microcredits(charged) if charged.state == HoldState.SETTLED else 0
    if not left:
        return None
    return refund(hold_id=hold_id, amount_microcredits=left, idempotency_key=idempotency_key, reason=reason, by=None)


def _refundable_microcredits(charged: Hold) -> int:
    """Return the microcredits of a settled charge that were not given back yet."""
    refunds = charged.entries.filter(kind=EntryKind.REFUND)
    return (charged.charged_microcredits or 0) - (refunds.aggregate(total=Sum("amount_microcredits"))["total"] or 0)
