"""Refunds by staff: of one answer or one payment, partial or full, exactly once, with a reason and a record.

A refund above what one person may move alone (`approvals`) waits for a second person. So does any refund that is
requested without the permission `make_refund`. Refunds that are done, approved or waiting never sum to more than was
charged. `billing.refunds.payouts` carries out approved refunds.
"""

from django.db import transaction
from django.db.models import QuerySet, Sum
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import audit
from accounts.models import User
from billing import approvals, ledger
from billing.models import (
    Hold,
    HoldState,
    Refund,
    RefundState,
    TopUp,
    TopUpState,
)
from billing.refunds.payouts import carry_out, customer_of, worth_of
from billing.templatetags.money import format_credits
from core.repeats import asked_the_same

PERMISSION = "billing.make_refund"


class RefundRefused(Exception):
    """The refund cannot be made; the message says why. Nothing was moved."""


class RefundConflict(RefundRefused):
    """The key was used before, for another refund."""


def refundable_amount(*, hold: Hold | None = None, topup: TopUp | None = None) -> int:
    """Return what can still be refunded: microcredits of an answer, or minor units of a payment."""
    closed = [RefundState.REJECTED, RefundState.FAILED, RefundState.LAPSED]
    open_or_done = Refund.objects.filter(hold=hold, topup=topup).exclude(state__in=closed)
    open_or_done_amount = open_or_done.aggregate(total=Sum("amount"))["total"] or 0
    if hold is not None:
        return (hold.charged_microcredits or 0) - open_or_done_amount if hold.state == HoldState.SETTLED else 0
    if topup is None or topup.state != TopUpState.PAID:
        return 0
    done_elsewhere = max(0, topup.refunded_minor - _done(topup))  # in the provider's dashboard
    return topup.amount_minor - open_or_done_amount - done_elsewhere - topup.disputed_minor


def needs_second_person(*, by: User, customer: User, amount: int, topup: TopUp | None) -> bool:
    """Return whether a second person must approve what this person asks for."""
    worth = amount if topup is None else approvals.worth_of_money(amount)
    return not by.has_perm(PERMISSION) or approvals.needs_second_person(
        by=by, customer=customer, worth_microcredits=worth
    )


def credits_taken_back(topup: TopUp, amount_minor: int) -> int:
    """Return the microcredits of a payment that a refund of this much takes back: its share, bonus included."""
    returned = topup.refunded_minor + topup.disputed_minor
    before, after = (
        topup.total_microcredits * minor // topup.amount_minor for minor in (returned, returned + amount_minor)
    )
    return after - before


def describe_refund(*, by: User, amount: int, hold: Hold | None = None, topup: TopUp | None = None) -> str:
    """Return a text that says what this refund would do, for the person who is about to make it.

    Raises approvals.OwnWallet.
    """
    customer = hold.wallet.user if hold is not None else topup.user  # type: ignore[union-attr]
    approvals.refuse_own_wallet(by=by, customer=customer)
    text = _("{worth} go back to {customer}.").format(worth=worth_of(amount, topup), customer=customer)
    if topup is not None:
        text += " " + _("{credits} credits are taken from the balance, or owed where they were spent.").format(
            credits=format_credits(credits_taken_back(topup, amount))
        )
    if needs_second_person(by=by, customer=customer, amount=amount, topup=topup):
        text += " " + _("A second person must approve it first.")
    return text


def request_refund(
    *,
    by: User,
    amount: int,
    reason: str,
    idempotency_key: str,
    note: str = "",
    hold: Hold | None = None,
    topup: TopUp | None = None,
) -> Refund:
    """Refund an answer (`hold`) or a payment (`topup`), or ask a second person to; once for each key.

    The customer reads the reason; the note is for staff alone.

    Raises RefundRefused for an amount outside what can be refunded or without a reason, RefundConflict for a key that
    asked for something else, and approvals.OwnWallet for one's own answer or payment. It never raises
    payments.PaymentError: a refund that could not be sent stays approved, and one that the provider refused has failed.
    """
    said = {"reason": reason.strip(), "note": note.strip()}
    refund = _store(by, amount, said, idempotency_key, hold, topup)
    return carry_out(refund_id=refund.pk) if refund.state == RefundState.APPROVED else refund


@transaction.atomic
def _store(
    by: User, amount: int, said: dict[str, str], idempotency_key: str, hold: Hold | None, topup: TopUp | None
) -> Refund:
    approvals.lock_person(by)
    customer, hold, topup = _lock_target(hold, topup)
    earlier = Refund.objects.filter(idempotency_key=idempotency_key).first()
    if earlier is not None:
        if not asked_the_same(earlier, hold=hold, topup=topup, amount=amount, **said):
            raise RefundConflict(_("This form was already sent with another amount or reason. Reload the page."))
        return earlier
    approvals.refuse_own_wallet(by=by, customer=customer)
    if not said["reason"]:
        raise RefundRefused(_("Say why: a refund needs a reason."))
    lapse_overdue(Refund.objects.filter(hold=hold, topup=topup))
    most = refundable_amount(hold=hold, topup=topup)
    if type(amount) is not int or not 0 < amount <= most:
        raise RefundRefused(_("At most {most} can be refunded.").format(most=worth_of(most, topup)))
    needs_approval = needs_second_person(by=by, customer=customer, amount=amount, topup=topup)
    refund = Refund.objects.create(
        hold=hold,
        topup=topup,
        amount=amount,
        **said,
        idempotency_key=idempotency_key,
        requested_by=by,
        state=RefundState.WAITING if needs_approval else RefundState.APPROVED,
        decided_by=None if needs_approval else by,
        decided_at=None if needs_approval else timezone.now(),
    )
    audit.record(actor=by, action="refund requested", subject=customer, refund=refund.pk, amount=amount, **said)
    return refund


def decide_refund(*, refund: Refund, by: User, is_approved: bool, note: str = "") -> Refund:
    """Approve or reject a waiting refund, and return it. The note goes into the audit log.

    Raises RefundRefused if `by` asked for it, if it was decided already or has lapsed, and approvals.OwnWallet if `by`
    is the customer.
    """
    with transaction.atomic():
        locked = Refund.objects.select_for_update(of=("self",)).get(pk=refund.pk)
        if locked.state != RefundState.WAITING:
            raise RefundRefused(_("This refund was decided already."))
        if approvals.has_lapsed(locked.requested_at):
            raise RefundRefused(_("Nobody decided in time: this request has lapsed. It must be asked for again."))
        if locked.requested_by_id == by.pk:
            raise RefundRefused(_("Somebody else must decide: you asked for this refund."))
        approvals.refuse_own_wallet(by=by, customer=customer_of(locked))
        locked.state = RefundState.APPROVED if is_approved else RefundState.REJECTED
        locked.decided_by, locked.decided_at = by, timezone.now()
        locked.save(update_fields=["state", "decided_by", "decided_at"])
        said = {"note": note} if note else {}
        audit.record(actor=by, action=f"refund {locked.state}", subject=customer_of(locked), refund=locked.pk, **said)
    return carry_out(refund_id=locked.pk) if is_approved else locked


@transaction.atomic
def lapse_overdue(refunds: QuerySet[Refund]) -> int:
    """Let those of these refunds lapse on which nobody decided in time; return how many."""
    overdue = refunds.filter(state=RefundState.WAITING, requested_at__lte=timezone.now() - approvals.LAPSES_AFTER)
    lapsed = list(overdue.select_for_update(of=("self",)).order_by("pk"))
    for refund in lapsed:
        refund.state, refund.decided_at = RefundState.LAPSED, timezone.now()
        refund.save(update_fields=["state", "decided_at"])
        asked_by, customer = refund.requested_by, customer_of(refund)
        audit.record(actor=asked_by, action="refund lapsed", subject=customer, refund=refund.pk)
    return len(lapsed)


def _done(topup: TopUp) -> int:
    """Minor units of a payment that our own refunds have given back."""
    done = topup.refunds.filter(state=RefundState.DONE)
    return done.aggregate(total=Sum("amount"))["total"] or 0


def _lock_target(hold: Hold | None, topup: TopUp | None) -> tuple[User, Hold | None, TopUp | None]:
    """Lock what is refunded, and return its customer and the hold or order as it is now.

    An answer is locked by its wallet, a payment by its order and then the wallet, as everywhere in billing. So two
    refunds of one customer wait for each other.
    """
    if (hold is None) == (topup is None):
        raise ValueError("a refund is of an answer or of a payment")
    if topup is not None:
        topup = TopUp.objects.select_for_update(of=("self",)).select_related("user").get(pk=topup.pk)
        ledger.lock_wallet(user=topup.user)
        return topup.user, None, topup
    hold = Hold.objects.select_related("wallet__user").get(pk=hold.pk)  # type: ignore[union-attr]
    ledger.lock_wallet(user=hold.wallet.user)
    hold.refresh_from_db(fields=["state", "charged_microcredits"])
    return hold.wallet.user, hold, None
