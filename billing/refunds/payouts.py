"""Approved refunds: sent, tried again, and followed until the provider's list says what became of them.

A payment's refund has the state that the provider gives it. It does not matter whether our request, a webhook or a
later try reports that state first. `follow_refunds` reads the provider's list again and stores all of it in one
transaction, so it may run repeatedly, simultaneously and in any order. If the process dies, nothing is moved twice:

- before the provider was asked: the next try asks;
- after it gave the money, before we stored that: the next try, or its webhook, finds our key in its list;
- while storing: PostgreSQL rolls all of it back, and the same as above holds;
- after the commit: the e-mail to the customer may be an hour late.
"""

import logging
from datetime import timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import audit
from accounts.models import User
from billing import ledger
from billing.models import Refund, RefundState, TopUp
from billing.notices.notices import notify
from billing.templatetags.money import format_credits, money
from billing.topups import orders
from billing.topups.payments import PaymentError, PaymentRefused, ProviderRefund, provider_named

logger = logging.getLogger(__name__)

FIRST_WAIT = timedelta(minutes=1)  # doubles with each try
LONGEST_WAIT = timedelta(hours=6)
ALERT_AFTER_TRIES = 5  # after half an hour
MOST_READS = 20  # it reads again whenever another process has stored a newer list meanwhile
REFUNDS_A_RUN = 100

# The states of a refund that the provider may know of.
SENT_STATES = (RefundState.APPROVED, RefundState.DONE, RefundState.FAILED)


def carry_out(*, refund_id: UUID) -> Refund:
    """Move the money or the credits of an approved refund. Repeated calls move them once.

    Returns the refund: done, failed if the provider refused for good, or still approved if it can be tried again.
    """
    refund = Refund.objects.select_related("topup").get(pk=refund_id)
    if refund.topup is None:
        return _refund_answer(refund_id)
    if refund.state == RefundState.APPROVED:
        try:
            _pay_out(refund, refund.topup)
        except (PaymentError, KeyError) as error:  # KeyError: this deployment no longer has the provider
            _put_off(refund_id, error)
    return Refund.objects.get(pk=refund_id)


def send_approved_refunds() -> int:
    """Carry out approved refunds that were interrupted or are due for another try; return how many are done now."""
    is_due = Q(next_try_at=None) | Q(next_try_at__lte=timezone.now())
    waiting = Refund.objects.filter(is_due, state=RefundState.APPROVED)
    in_turn = waiting.order_by(F("next_try_at").asc(nulls_first=True)).values_list("pk", flat=True)
    done = 0
    for refund_id in list(in_turn[:REFUNDS_A_RUN]):
        try:
            done += carry_out(refund_id=refund_id).state == RefundState.DONE
        except Exception as error:
            logger.exception("refund %s", refund_id)
            _put_off(refund_id, error)  # so that it does not block the others
    return done


def follow_refunds(*, topup_id: UUID, refusals: dict[UUID, str] | None = None) -> None:
    """Read every refund of a payment from its provider and make the order, its credits and our refunds match.

    `refusals` maps the id of a refund to the provider's reason for not even starting it. Raises PaymentError when the
    provider cannot be asked, TopUpConflict for an order that was not paid.
    """
    for _attempt in range(MOST_READS):
        topup = TopUp.objects.get(pk=topup_id)
        found = provider_named(topup.provider).refunds_of(topup)
        try:
            _write_down(topup, found, refusals or {})
        except orders.StaleReading:
            continue
        return
    raise PaymentError(_("The payment's refunds keep changing. They are read again in a minute."))


def customer_of(refund: Refund) -> User:
    """Return the customer whose answer or payment it is."""
    return refund.hold.wallet.user if refund.hold is not None else refund.topup.user  # type: ignore[union-attr]


def worth_of(amount: int, topup: TopUp | None) -> str:
    """Return an amount of a refund as text: in credits for an answer, in money for a payment."""
    if topup is None:
        return _("{credits} credits").format(credits=format_credits(amount))
    return money(amount, topup.currency)


def key_of(refund: Refund) -> str:
    """Return the key of a refund in the ledger and at the provider."""
    return f"refund:{refund.pk}"


def _pay_out(refund: Refund, topup: TopUp) -> None:
    """Ask the provider for the refund, then store what became of it."""
    refusals = {}
    try:
        provider_named(topup.provider).refund(topup, refund.amount, key_of(refund))
    except PaymentRefused as refusal:
        refusals[refund.pk] = str(refusal)
    follow_refunds(topup_id=topup.pk, refusals=refusals)


@transaction.atomic
def _write_down(topup: TopUp, found: list[ProviderRefund], refusals: dict[UUID, str]) -> None:
    """Store the provider's list, which was read after `topup`. Locks the order, then its refunds and its wallet."""
    orders.set_refunded(
        topup_id=topup.pk,
        provider=topup.provider,
        refunded_minor=sum(one.amount_minor for one in found if one.is_live),
        reading=topup.refund_readings,
    )
    by_key = {one.key: one for one in found}
    ours = Refund.objects.select_for_update(of=("self",)).filter(topup=topup, state__in=SENT_STATES)
    for refund in ours.select_related("topup__user", "requested_by", "decided_by").order_by("requested_at"):
        known = by_key.get(key_of(refund))
        if known is not None:
            state = RefundState.DONE if known.is_live else RefundState.FAILED
            _enter(refund, state, error=known.reason, reference=known.reference)
        elif refund.pk in refusals and refund.state == RefundState.APPROVED:
            _enter(refund, RefundState.FAILED, error=refusals[refund.pk])


@transaction.atomic
def _refund_answer(refund_id: UUID) -> Refund:
    """Give the credits of an answer back, in one transaction with the refund's state."""
    refund = Refund.objects.select_for_update(of=("self",)).get(pk=refund_id)
    if refund.state == RefundState.APPROVED and refund.hold is not None and refund.decided_by is not None:
        ledger.refund(
            hold_id=refund.hold.pk,
            amount_microcredits=refund.amount,
            idempotency_key=key_of(refund),
            reason=refund.reason,
            by=refund.decided_by,
        )
        _enter(refund, RefundState.DONE)
    return refund


def _enter(refund: Refund, state: RefundState, *, error: str = "", reference: str = "") -> None:
    """Set the state of a locked refund and note it in the audit log.

    The customer is notified when the refund is done, and when one that was done failed. A failure is logged as
    critical.
    """
    if refund.state == state:
        return
    before, refund.state = refund.state, state
    refund.error, refund.next_try_at = error[:300], None
    refund.provider_reference = reference or refund.provider_reference
    refund.save(update_fields=["state", "error", "next_try_at", "provider_reference"])
    actor, customer = refund.decided_by or refund.requested_by, customer_of(refund)
    audit.record(actor=actor, action=f"refund {state}", subject=customer, refund=refund.pk, error=refund.error)
    if state == RefundState.FAILED:
        logger.critical("refund %s of %s failed: %s", refund.pk, refund.topup, refund.error)
    if state == RefundState.DONE or before == RefundState.DONE:
        _notify(refund, customer)


def _put_off(refund_id: UUID, error: Exception) -> None:
    """Note a try that may succeed later, and double the wait before the next. After some tries, log it as critical."""
    with transaction.atomic():
        refund = Refund.objects.select_for_update(of=("self",)).get(pk=refund_id)
        if refund.state != RefundState.APPROVED:
            return
        wait = min(FIRST_WAIT * 2 ** min(refund.tries, 20), LONGEST_WAIT)
        refund.tries = min(refund.tries + 1, 32_000)
        refund.next_try_at = timezone.now() + wait
        refund.error = (str(error) if isinstance(error, PaymentError) else repr(error))[:300]
        refund.save(update_fields=["tries", "next_try_at", "error"])
    if refund.tries >= ALERT_AFTER_TRIES:
        logger.critical("refund %s could not be sent in %d tries: %s", refund_id, refund.tries, refund.error)


def _notify(refund: Refund, customer: User) -> None:
    """Tell the customer that a refund was made, or that the bank could not pay out a refund they were told of."""
    name = "refund_done" if refund.state == RefundState.DONE else "refund_failed"
    worth = worth_of(refund.amount, refund.topup)
    notify(user_id=customer.pk, name=name, path="/credits/", worth=worth, reason=refund.reason)
