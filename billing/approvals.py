"""What one person of the staff may move alone, and what a second person must approve.

Refunds, adjustments and promotion codes count together, by their worth in microcredits, up or down. What was moved
without a second person within the last 24 hours may come to REFUND_APPROVAL_MICROCREDITS, both for each person who
moved it and for each customer who got it. Above that a second person decides. What a second person approved does not
count. Nobody acts on their own wallet, and nobody approves their own request. A request lapses after LAPSES_AFTER.

The sums are read under two locks, taken in this order: the person's (`lock_person`), then the customer's wallet.
"""

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import F, Q, QuerySet, Sum
from django.db.models.functions import Abs
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.models import User
from billing.models import (
    MICROCREDITS_PER_CREDIT,
    Adjustment,
    AdjustmentState,
    PromotionCode,
    Redemption,
    Refund,
    RefundState,
)

WINDOW = timedelta(hours=24)
LAPSES_AFTER = timedelta(days=7)


class OwnWallet(Exception):
    """A member of the staff tried to move credits or money of their own, or to decide on that."""


def has_lapsed(requested_at: datetime) -> bool:
    """Whether a request of that time can no longer be approved."""
    return requested_at <= timezone.now() - LAPSES_AFTER


def refuse_own_wallet(*, by: User, customer: User) -> None:
    """Raise OwnWallet if the person and the customer are the same user."""
    if by.pk == customer.pk:
        raise OwnWallet(_("Somebody else must do this: it is your own account."))


def lock_person(by: User) -> None:
    """Take a lock on this person until the transaction ends. Other moves of credits in their name wait for it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [f"moved by {by.pk}"])


def needs_second_person(*, by: User, worth_microcredits: int, customer: User | None = None) -> bool:
    """Return whether a second person must approve this.

    It counts what this person moved alone, and what was moved alone for the customer, within the last 24 hours.
    """
    moved = _moved_by(by) if customer is None else max(_moved_by(by), moved_for(customer))
    most: int = settings.REFUND_APPROVAL_MICROCREDITS
    return moved + worth_microcredits > most


def moved_for(customer: User) -> int:
    """What members of the staff moved for a customer alone within the last 24 hours, in microcredits."""
    since = timezone.now() - WINDOW
    of_answers, of_payments = Q(hold__wallet__user=customer), Q(topup__user=customer)
    codes = Redemption.objects.filter(wallet__user=customer, created_at__gte=since, **made_alone("code__"))
    return (
        _refunded(since, of_answers)
        + _refunded(since, of_payments)
        + _adjusted(since, Q(wallet__user=customer))
        + (codes.aggregate(total=Sum("code__credits_microcredits"))["total"] or 0)
    )


def made_alone(prefix: str = "") -> dict[str, bool]:
    """The filter of promotion codes that one person made and no second one approved."""
    return {f"{prefix}created_by__isnull": False, f"{prefix}approved_by__isnull": True}


def worth_of_money(amount_minor: int) -> int:
    """What an amount of money is worth in microcredits."""
    credits_a_unit: int = settings.CREDITS_PER_MINOR_UNIT
    return amount_minor * credits_a_unit * MICROCREDITS_PER_CREDIT


def _moved_by(person: User) -> int:
    """What this person moved alone within the last 24 hours, in microcredits.

    A code counts for all the redemptions that it allows.
    """
    since = timezone.now() - WINDOW
    codes = PromotionCode.objects.filter(created_by=person, created_at__gte=since, is_waiting=False, **made_alone())
    return (
        _refunded(since, Q(requested_by=person))
        + _adjusted(since, Q(requested_by=person))
        + int(codes.aggregate(total=Sum(F("credits_microcredits") * F("most_redemptions")))["total"] or 0)
    )


def _refunded(since: datetime, which: Q) -> int:
    """Microcredits of the refunds that one person both requested and decided, and that are approved or done."""
    live = Refund.objects.filter(which, state__in=[RefundState.APPROVED, RefundState.DONE])
    sums = _alone(live, since).aggregate(
        microcredits=Sum("amount", filter=Q(topup=None)), minor=Sum("amount", filter=Q(hold=None))
    )
    return (sums["microcredits"] or 0) + worth_of_money(sums["minor"] or 0)


def _adjusted(since: datetime, which: Q) -> int:
    done = _alone(Adjustment.objects.filter(which, state=AdjustmentState.DONE), since)
    return done.aggregate(total=Sum(Abs("amount_microcredits")))["total"] or 0


def _alone(rows: QuerySet[Any], since: datetime) -> QuerySet[Any]:
    return rows.filter(decided_by=F("requested_by"), decided_at__gte=since)
