"""Corrections of wallets by staff: with a reason, once for each key, and by two people above the limits.

The limits are in `approvals`. A correction that needs a second person is stored as a request and moves nothing until it
is approved.
"""

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import audit
from accounts.models import User
from billing import approvals, ledger
from billing.models import Adjustment, AdjustmentState, Wallet
from core.repeats import asked_the_same


class AdjustmentRefused(Exception):
    """This person may not decide on this adjustment, or it was decided already; the message says why."""


@transaction.atomic
def adjust_credits(*, user: User, amount_microcredits: int, idempotency_key: str, reason: str, by: User) -> Adjustment:
    """Correct a wallet up or down, once for each key. Above the limits, store a request for a second person.

    Raises approvals.OwnWallet and what `ledger.adjust` raises; IdempotencyConflict also for a key with another reason.
    """
    approvals.lock_person(by)
    wallet = ledger.lock_wallet(user=user)
    earlier = Adjustment.objects.filter(idempotency_key=idempotency_key).first()
    if earlier is not None:
        inputs = {"wallet_id": wallet.pk, "amount_microcredits": amount_microcredits, "reason": reason}
        if not asked_the_same(earlier, **inputs):
            raise ledger.IdempotencyConflict(f"{idempotency_key} was used for another adjustment")
        return earlier
    approvals.refuse_own_wallet(by=by, customer=user)
    adjustment = Adjustment(
        wallet=wallet,
        amount_microcredits=amount_microcredits,
        reason=reason,
        idempotency_key=idempotency_key,
        requested_by=by,
    )
    if not approvals.needs_second_person(by=by, customer=user, worth_microcredits=abs(amount_microcredits)):
        return _carry_out(adjustment, by)
    _refuse_what_the_ledger_would(adjustment)
    adjustment.save(force_insert=True)
    _note("adjustment requested", adjustment, by)
    return adjustment


@transaction.atomic
def decide_adjustment(*, adjustment: Adjustment, by: User, is_approved: bool) -> Adjustment:
    """Approve or reject a waiting adjustment.

    Raises AdjustmentRefused if `by` asked for it or if it was decided already, approvals.OwnWallet if `by` is the
    customer, and ledger.InsufficientCredits if the credits to be taken are not free any more.
    """
    locked = Adjustment.objects.select_for_update(of=("self",)).select_related("wallet__user").get(pk=adjustment.pk)
    if locked.state != AdjustmentState.WAITING:
        raise AdjustmentRefused(_("This adjustment was decided already."))
    if locked.requested_by_id == by.pk:
        raise AdjustmentRefused(_("Somebody else must decide: you asked for this adjustment."))
    approvals.refuse_own_wallet(by=by, customer=locked.wallet.user)
    if is_approved:
        return _carry_out(locked, by)
    locked.state, locked.decided_by, locked.decided_at = AdjustmentState.REJECTED, by, timezone.now()
    locked.save()
    _note("adjustment rejected", locked, by)
    return locked


def _carry_out(adjustment: Adjustment, by: User) -> Adjustment:
    """Move the credits in the name of the person who decided, and note that in the audit log."""
    adjustment.entry = ledger.adjust(
        user=adjustment.wallet.user,
        amount_microcredits=adjustment.amount_microcredits,
        idempotency_key=adjustment.idempotency_key,
        reason=adjustment.reason,
        by=by,
    )
    adjustment.state, adjustment.decided_by, adjustment.decided_at = AdjustmentState.DONE, by, timezone.now()
    adjustment.save()
    _note("credits adjusted", adjustment, by)
    return adjustment


def _refuse_what_the_ledger_would(adjustment: Adjustment) -> None:
    """Refuse a request that could only fail when it is approved. Raises what `ledger.adjust` raises."""
    wallet: Wallet = adjustment.wallet
    if type(adjustment.amount_microcredits) is not int or not adjustment.reason.strip():
        raise ValueError("an adjustment is an integer and needs a reason")
    if -adjustment.amount_microcredits > wallet.available_microcredits:
        raise ledger.InsufficientCredits(
            available_microcredits=wallet.available_microcredits,
            needed_microcredits=-adjustment.amount_microcredits,
        )


def _note(action: str, adjustment: Adjustment, by: User) -> None:
    audit.record(
        actor=by,
        action=action,
        subject=adjustment.wallet.user,
        microcredits=adjustment.amount_microcredits,
        reason=adjustment.reason,
        adjustment=adjustment.pk,
        requested_by=adjustment.requested_by_id,
    )
