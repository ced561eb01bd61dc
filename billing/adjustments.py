"""Corrections of wallets by staff: with a reason, once for each key, and by two people above the limits.

The limits are in `approvals`. A correction that needs a second person is stored as a request and moves nothing until it
is approved.
"""

from datetime import timedelta

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
def adjust_credits(
    *,
    user: User,
    amount_microcredits: int,
    idempotency_key: str,
    reason: str,
    by: User,
    note: str = "",
    expires_after_days: int | None = None,
) -> Adjustment:
    """Correct a wallet up or down, once for each key. Above the limits, store a request for a second person.

    The customer reads the reason; the note is for staff alone. Credits that are given expire so many days after they
    came, or never.

    Raises approvals.OwnWallet and what `ledger.adjust` raises; IdempotencyConflict also for a key with another reason.
    """
    approvals.lock_person(by)
    wallet = ledger.lock_wallet(user=user)
    said = {"reason": reason, "note": note, "expires_after_days": expires_after_days}
    earlier = Adjustment.objects.filter(idempotency_key=idempotency_key).first()
    if earlier is not None:
        inputs = {"wallet_id": wallet.pk, "amount_microcredits": amount_microcredits, **said}
        if not asked_the_same(earlier, **inputs):
            raise ledger.IdempotencyConflict(f"{idempotency_key} was used for another adjustment")
        return earlier
    approvals.refuse_own_wallet(by=by, customer=user)
    adjustment = Adjustment(
        wallet=wallet,
        amount_microcredits=amount_microcredits,
        idempotency_key=idempotency_key,
        requested_by=by,
        **said,
    )
    if not approvals.needs_second_person(by=by, customer=user, worth_microcredits=abs(amount_microcredits)):
        return _carry_out(adjustment, by)
    _refuse_what_the_ledger_would(adjustment)
    adjustment.save(force_insert=True)
    _note("adjustment requested", adjustment, by)
    return adjustment


@transaction.atomic
def decide_adjustment(*, adjustment: Adjustment, by: User, is_approved: bool, note: str = "") -> Adjustment:
    """Approve or reject a waiting adjustment. The note goes into the audit log.

    Raises AdjustmentRefused if `by` asked for it, if it was decided already or has lapsed, approvals.OwnWallet if `by`
    is the customer, and ledger.InsufficientCredits if the credits to be taken are not free any more.
    """
    locked = Adjustment.objects.select_for_update(of=("self",)).select_related("wallet__user").get(pk=adjustment.pk)
    if locked.state != AdjustmentState.WAITING:
        raise AdjustmentRefused(_("This adjustment was decided already."))
    if approvals.has_lapsed(locked.requested_at):
        raise AdjustmentRefused(_("Nobody decided in time: this request has lapsed. It must be asked for again."))
    if locked.requested_by_id == by.pk:
        raise AdjustmentRefused(_("Somebody else must decide: you asked for this adjustment."))
    approvals.refuse_own_wallet(by=by, customer=locked.wallet.user)
    if is_approved:
        return _carry_out(locked, by, decision=note)
    locked.state, locked.decided_by, locked.decided_at = AdjustmentState.REJECTED, by, timezone.now()
    locked.save()
    _note("adjustment rejected", locked, by, decision=note)
    return locked


@transaction.atomic
def lapse_overdue() -> int:
    """Let the adjustments lapse on which nobody decided in time; return how many."""
    limit = timezone.now() - approvals.LAPSES_AFTER
    overdue = Adjustment.objects.filter(state=AdjustmentState.WAITING, requested_at__lte=limit)
    lapsed = list(overdue.select_for_update(of=("self",)).select_related("wallet__user", "requested_by").order_by("pk"))
    for adjustment in lapsed:
        adjustment.state, adjustment.decided_at = AdjustmentState.LAPSED, timezone.now()
        adjustment.save(update_fields=["state", "decided_at"])
        _note("adjustment lapsed", adjustment, adjustment.requested_by)
    return len(lapsed)


def _carry_out(adjustment: Adjustment, by: User, decision: str = "") -> Adjustment:
    """Move the credits in the name of the person who decided, and note that in the audit log."""
    days, now = adjustment.expires_after_days, timezone.now()
    adjustment.entry = ledger.adjust(
        user=adjustment.wallet.user,
        amount_microcredits=adjustment.amount_microcredits,
        idempotency_key=adjustment.idempotency_key,
        reason=adjustment.reason,
        by=by,
        expires_at=None if days is None else now + timedelta(days=days),
    )
    adjustment.state, adjustment.decided_by, adjustment.decided_at = AdjustmentState.DONE, by, now
    adjustment.save()
    _note("credits adjusted", adjustment, by, decision=decision)
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


def _note(action: str, adjustment: Adjustment, by: User, decision: str = "") -> None:
    """Write the audit log. `decision` is what the person who decided says."""
    said = {"note": adjustment.note, "decision": decision}
    audit.record(
        actor=by,
        action=action,
        subject=adjustment.wallet.user,
        microcredits=adjustment.amount_microcredits,
        reason=adjustment.reason,
        adjustment=adjustment.pk,
        requested_by=adjustment.requested_by_id,
        **{name: text for name, text in said.items() if text},
    )
