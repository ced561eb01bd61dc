"""Refunds by staff: of one answer or one payment, partial or full, exactly once, with a reason and a record.

A refund above REFUND_APPROVAL_MICROCREDITS (or its worth in money) waits for a second person. What is refunded,
approved or waiting never sums to more than was charged.
"""

from uuid import UUID

from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.db.models import Sum
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import audit
from accounts.models import User
from billing import ledger, topups
from billing.models import (
    MICROCREDITS_PER_CREDIT,
    Hold,
    HoldState,
    Refund,
    RefundState,
    TopUp,
    TopUpState,
)
from billing.payments import PaymentError, provider_named
from billing.templatetags.money import format_credits, money


class RefundRefused(Exception):
    """The refund cannot be made; the message says why. Nothing was moved."""


def refundable_amount(*, hold: Hold | None = None, topup: TopUp | None = None) -> int:
    """What can still be refunded: microcredits of an answer, minor units of a payment."""
    refunds = Refund.objects.filter(hold=hold, topup=topup).exclude(state=RefundState.REJECTED)
    open_or_done = refunds.aggregate(total=Sum("amount"))["total"] or 0
    if hold is not None:
        return (hold.charged_microcredits or 0) - open_or_done if hold.state == HoldState.SETTLED else 0
    if topup is None or topup.state != TopUpState.PAID:
        return 0
    done_elsewhere = max(0, topup.refunded_minor - _done(topup))  # in the provider's dashboard
    return topup.amount_minor - open_or_done - done_elsewhere - topup.disputed_minor


def describe_refund(*, amount: int, hold: Hold | None = None, topup: TopUp | None = None) -> str:
    """What a refund of this amount would do, for the person who is about to make it."""
    text = _("{worth} go back to {customer}.").format(
        worth=_worth(amount, topup), customer=hold.wallet.user if hold else topup and topup.user
    )
    if topup is not None:
        returned = topup.refunded_minor + topup.disputed_minor
        before, after = (
            topup.total_microcredits * minor // topup.amount_minor for minor in (returned, returned + amount)
        )
        text += " " + _("{credits} credits are taken from the balance, or owed where they were spent.").format(
            credits=format_credits(after - before)
        )
    if _microcredits(amount, topup) > settings.REFUND_APPROVAL_MICROCREDITS:
        text += " " + _("A second person must approve it first.")
    return text


def request_refund(
    *, by: User, amount: int, reason: str, idempotency_key: str, hold: Hold | None = None, topup: TopUp | None = None
) -> Refund:
    """Refund an answer (`hold`) or a payment (`topup`), or ask a second person to; once for each key.

    Raises RefundRefused for an amount outside what can be refunded, without a reason, or for a key that asked for
    something else; payments.PaymentError never: a payment's refund that could not be sent stays approved.
    """
    refund = _store(by, amount, reason.strip(), idempotency_key, hold, topup)
    return _carry_out(refund.pk) if refund.state == RefundState.APPROVED else refund


@transaction.atomic
def _store(by: User, amount: int, reason: str, idempotency_key: str, hold: Hold | None, topup: TopUp | None) -> Refund:
    customer = _lock_customer(hold, topup)
    hold = hold and Hold.objects.get(pk=hold.pk)  # as it is now, behind the lock
    topup = topup and TopUp.objects.get(pk=topup.pk)
    earlier = Refund.objects.filter(idempotency_key=idempotency_key).first()
    if earlier is not None:
        if (earlier.hold, earlier.topup, earlier.amount) != (hold, topup, amount):
            raise RefundRefused(_("This form was already sent with another amount. Reload the page."))
        return earlier
    if not reason:
        raise RefundRefused(_("Say why: a refund needs a reason."))
    most = refundable_amount(hold=hold, topup=topup)
    if type(amount) is not int or not 0 < amount <= most:
        raise RefundRefused(_("At most {most} can be refunded.").format(most=_worth(most, topup)))
    needs_approval = _microcredits(amount, topup) > settings.REFUND_APPROVAL_MICROCREDITS
    refund = Refund.objects.create(
        hold=hold,
        topup=topup,
        amount=amount,
        reason=reason,
        idempotency_key=idempotency_key,
        requested_by=by,
        state=RefundState.WAITING if needs_approval else RefundState.APPROVED,
        decided_by=None if needs_approval else by,
        decided_at=None if needs_approval else timezone.now(),
    )
    audit.record(actor=by, action="refund requested", subject=customer, refund=refund.pk, amount=amount, reason=reason)
    return refund


def decide_refund(*, refund: Refund, by: User, is_approved: bool) -> Refund:
    """Approve or reject a waiting refund. Raises RefundRefused for the person who asked for it, or a second time."""
    with transaction.atomic():
        locked = Refund.objects.select_for_update(of=("self",)).get(pk=refund.pk)
        if locked.state != RefundState.WAITING:
            raise RefundRefused(_("This refund was decided already."))
        if locked.requested_by_id == by.pk:
            raise RefundRefused(_("Somebody else must decide: you asked for this refund."))
        locked.state = RefundState.APPROVED if is_approved else RefundState.REJECTED
        locked.decided_by, locked.decided_at = by, timezone.now()
        locked.save(update_fields=["state", "decided_by", "decided_at"])
        audit.record(actor=by, action=f"refund {locked.state}", subject=_customer(locked), refund=locked.pk)
    return _carry_out(locked.pk) if is_approved else locked


def send_approved_refunds() -> int:
    """Carry out approved refunds that were interrupted or whose provider was away; return how many are done now."""
    waiting = list(Refund.objects.filter(state=RefundState.APPROVED).values_list("pk", flat=True)[:100])
    return sum(_carry_out(refund_id).state == RefundState.DONE for refund_id in waiting)


def _carry_out(refund_id: UUID) -> Refund:
    """Move the money or the credits of an approved refund. Done again after a crash, it moves nothing twice."""
    refund = Refund.objects.select_related("hold", "topup__user", "decided_by").get(pk=refund_id)
    if refund.topup is not None:
        try:
            provider = provider_named(refund.topup.provider)
            provider.refund(refund.topup, refund.amount, f"refund:{refund.pk}")
        except (PaymentError, KeyError) as error:
            Refund.objects.filter(pk=refund.pk).update(error=str(error)[:300])
            refund.refresh_from_db()
            return refund
    return _finish(refund_id)


@transaction.atomic
def _finish(refund_id: UUID) -> Refund:
    refund = Refund.objects.select_for_update(of=("self",)).get(pk=refund_id)
    if refund.state != RefundState.APPROVED:
        return refund
    refund.state, refund.error = RefundState.DONE, ""
    refund.save(update_fields=["state", "error"])
    if refund.hold is not None and refund.decided_by is not None:
        ledger.refund(
            hold_id=refund.hold.pk,
            amount_microcredits=refund.amount,
            idempotency_key=f"refund:{refund.pk}",
            reason=refund.reason,
            by=refund.decided_by,
        )
    elif refund.topup is not None:
        topup = refund.topup
        topups.set_refunded(topup_id=topup.pk, provider=topup.provider, refunded_minor=_done(topup))
    customer = _customer(refund)
    audit.record(
        actor=refund.decided_by or refund.requested_by, action="refund done", subject=customer, refund=refund.pk
    )
    transaction.on_commit(lambda: _notify(refund, customer))
    return refund


def _notify(refund: Refund, customer: User) -> None:
    worth = _worth(refund.amount, refund.topup)
    send_mail(
        _("You got a refund of {worth}").format(worth=worth),
        _("We refunded {worth}. Reason: {reason}").format(worth=worth, reason=refund.reason),
        None,
        [customer.email],
        fail_silently=True,
    )


def _done(topup: TopUp) -> int:
    """Minor units of a payment that our own refunds have given back."""
    done = topup.refunds.filter(state=RefundState.DONE)
    return done.aggregate(total=Sum("amount"))["total"] or 0


def _lock_customer(hold: Hold | None, topup: TopUp | None) -> User:
    """Lock the wallet, so that two refunds of one charge wait for each other, and return its owner."""
    if (hold is None) == (topup is None):
        raise ValueError("a refund is of an answer or of a payment")
    customer = hold.wallet.user if hold is not None else topup.user  # type: ignore[union-attr]
    ledger.lock_wallet(user=customer)
    return customer


def _customer(refund: Refund) -> User:
    return refund.hold.wallet.user if refund.hold is not None else refund.topup.user  # type: ignore[union-attr]


def _microcredits(amount: int, topup: TopUp | None) -> int:
    """What the amount is worth in microcredits."""
    return amount if topup is None else amount * settings.CREDITS_PER_MINOR_UNIT * MICROCREDITS_PER_CREDIT


def _worth(amount: int, topup: TopUp | None) -> str:
    return f"{format_credits(amount)} credits" if topup is None else money(amount, topup.currency)
