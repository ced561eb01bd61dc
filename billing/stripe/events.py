"""What Stripe's events mean for orders. Each event is first stored as it came, then processed once.

Stripe delivers an event at least once, in any order, for three days (https://docs.stripe.com/webhooks). So nothing here
depends on the order of events. A completion wins over a failure. Refunds and disputes are never taken from the event
but read from Stripe again. An event that came before its order was completed is refused, so that Stripe delivers it
again later.

Other software on the same Stripe account sends its events here too. Our events name an order, by a UUID in their
metadata or by their payment. All other events are closed silently. An event that names an order and does not fit it
stays open.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from billing.models import PaymentEvent, TopUp, TopUpState
from billing.refunds import payouts
from billing.stripe.amounts import as_stripe_writes, minor_of_stripe
from billing.stripe.provider import (
    NAME,
    StripeJson,
    card_of_setup,
    charge_of,
    disputed_minor,
    id_of,
    parse_id,
    topup_id_of_payment,
)
from billing.topups import automatic, cards, orders
from billing.topups.orders import TopUpConflict
from billing.topups.payments import KeptCard

logger = logging.getLogger(__name__)

MOST_READS = 5  # if a dispute keeps changing while it is being read


class Outcome(Enum):
    """What became of an event."""

    DONE = "done"
    FOREIGN = "foreign"  # names an order but does not fit it; kept for a person to look at
    TOO_EARLY = "too early"
    FAILED = "failed"


class TooEarly(Exception):
    """The event is about an order that has not been completed here yet."""


@dataclass(frozen=True, slots=True)
class Paid:
    """A Checkout Session or an automatic order was paid: the amount in Stripe's units, and the PaymentIntent."""

    topup_id: UUID
    amount: int
    currency: str
    payment_reference: str


@dataclass(frozen=True, slots=True)
class Unpaid:
    """A Checkout Session is waiting for its money, or ended without it."""

    topup_id: UUID
    state: TopUpState


@dataclass(frozen=True, slots=True)
class Refunded:
    """The refunds of a payment changed. `billing.refunds.payouts` reads how."""

    topup_id: UUID


@dataclass(frozen=True, slots=True)
class Disputed:
    """What disputes hold of a payment as of the moment it was read, in minor units."""

    topup_id: UUID
    total_minor: int


@dataclass(frozen=True, slots=True)
class Declined:
    """The card of an automatic order was declined."""

    topup_id: UUID
    code: str


@dataclass(frozen=True, slots=True)
class CardEntered:
    """A customer entered a card for us to keep."""

    card_id: UUID
    kept: KeptCard


Change = Paid | Unpaid | Refunded | Disputed | Declined | CardEntered


def receive_event(*, event: StripeJson) -> Outcome:
    """Store a verified event and process it, unless that was done before. Returns the outcome.

    Never raises for the content of the event.
    """
    stored, _created = PaymentEvent.objects.get_or_create(
        provider=NAME, event_id=event["id"], defaults={"type": event["type"], "payload": event}
    )
    if stored.processed_at is not None:
        return Outcome.DONE
    try:
        _process(stored)
    except TooEarly as early:
        return _note(stored, Outcome.TOO_EARLY, early, logging.WARNING)
    except TopUpConflict as conflict:
        return _note(stored, Outcome.FOREIGN, conflict, logging.CRITICAL)
    except Exception as error:  # noqa: BLE001  any error is noted and answered with 500, so Stripe delivers again
        return _note(stored, Outcome.FAILED, error, logging.CRITICAL)
    return Outcome.DONE


def _process(stored: PaymentEvent) -> None:
    """Read what the event means, from Stripe if necessary, then apply and close it in one transaction.

    A reading from Stripe may be older than what another delivery wrote meanwhile. So the event of a dispute is closed
    only when a reading that began after the last write says the same.
    """
    read = READERS.get(stored.type)
    if read is None:
        _close(stored, None)
        return
    change = read(stored.payload["data"]["object"])
    if isinstance(change, Refunded):
        payouts.follow_refunds(topup_id=change.topup_id)
        _close(stored, None)
        return
    for _attempt in range(MOST_READS):
        if not isinstance(change, Disputed):
            _close(stored, change)
            return
        _apply(change)
        written, change = change, read(stored.payload["data"]["object"])
        if written == change:
            _close(stored, None)
            return
    raise RuntimeError("the dispute kept changing")


@transaction.atomic
def _close(stored: PaymentEvent, change: Change | None) -> None:
    """Apply an event and mark it processed, if no other delivery of it has done so."""
    event = PaymentEvent.objects.select_for_update().get(pk=stored.pk)
    if event.processed_at is not None:
        return
    if change is not None:
        _apply(change)
    event.processed_at = timezone.now()
    event.error = ""
    event.save(update_fields=["processed_at", "error"])


def _apply(change: Change) -> None:
    """Apply the change to its order or card. Raises TopUpConflict if it does not fit the order."""
    match change:
        case Paid():
            _complete(change)
        case Unpaid(state=TopUpState.PENDING):
            orders.wait_for_payment(topup_id=change.topup_id, provider=NAME)
        case Unpaid():
            orders.fail_topup(topup_id=change.topup_id, provider=NAME, state=change.state)
        case Disputed():
            orders.set_disputed(topup_id=change.topup_id, provider=NAME, disputed_minor=change.total_minor)
        case Declined():
            automatic.note_decline(topup_id=change.topup_id, provider=NAME, code=change.code)
        case CardEntered():
            cards.keep_card(card_id=change.card_id, provider=NAME, kept=change.kept)


def _complete(paid: Paid) -> None:
    amount_minor = minor_of_stripe(paid.amount, paid.currency)
    if as_stripe_writes(amount_minor, paid.currency) != paid.amount:  # no order is for a part of a smallest unit
        raise TopUpConflict(f"top-up {paid.topup_id} was paid {paid.amount} {paid.currency}, as Stripe writes it")
    topup = orders.complete_topup(
        topup_id=paid.topup_id,
        provider=NAME,
        amount_minor=amount_minor,
        currency=paid.currency,
        payment_reference=paid.payment_reference,
    )
    if topup.payment_reference != paid.payment_reference:
        raise TopUpConflict(f"{topup} was paid twice: {topup.payment_reference}, then {paid.payment_reference}")


def _read_completed(session: StripeJson) -> Change | None:
    """Read a session that ended: it is paid now, or by a method whose money takes days.

    `amount_total` is what was asked for.
    """
    if session["mode"] == "setup":
        return _read_card(session)
    topup_id = _order_in(session)
    if topup_id is None:
        return None
    if session["payment_status"] == "unpaid":
        return Unpaid(topup_id, TopUpState.PENDING)
    if session["payment_status"] != "paid":
        raise TopUpConflict(f"session {session['id']} is {session['payment_status']}")
    return Paid(topup_id, session["amount_total"], session["currency"], id_of(session["payment_intent"]))


def _read_card(session: StripeJson) -> Change | None:
    """Read a card that was entered; None if other software asked for it."""
    card_id = parse_id((session.get("metadata") or {}).get("card_id", ""))
    kept = card_of_setup(id_of(session["setup_intent"])) if card_id else None
    return CardEntered(card_id, kept) if card_id and kept else None


def _read_failed(session: StripeJson) -> Change | None:
    topup_id = _order_in(session)
    return None if topup_id is None else Unpaid(topup_id, TopUpState.FAILED)


def _read_expired(session: StripeJson) -> Change | None:
    """Read a session that was not paid in time. A session in which nobody entered a card names no order."""
    topup_id = _order_in(session)
    return None if topup_id is None else Unpaid(topup_id, TopUpState.CANCELLED)


def _read_payment(payment: StripeJson) -> Change | None:
    """Read the charge of an automatic order that ended. Other payments are reported by their sessions."""
    topup_id = _order_in(payment)
    if topup_id is None or not payment["metadata"].get("automatic"):
        return None
    if payment["status"] == "succeeded":
        return Paid(topup_id, payment["amount_received"], payment["currency"], payment["id"])
    return Declined(topup_id, charge_of(payment).code)


def _read_refunded(charge_or_refund: StripeJson) -> Change | None:
    """Read that money was given back, or that the bank sent it back to us.

    Both a charge and a refund name their payment.
    """
    topup = _order_of_payment(id_of(charge_or_refund.get("payment_intent")))
    return None if topup is None else Refunded(topup.pk)


def _read_disputed(dispute: StripeJson) -> Change | None:
    payment_intent = id_of(dispute.get("payment_intent"))
    topup = _order_of_payment(payment_intent)
    return None if topup is None else Disputed(topup.pk, disputed_minor(payment_intent, topup))


def _order_in(session_or_payment: StripeJson) -> UUID | None:
    """Return the id of the order that the metadata names; None if the object is not ours.

    `client_reference_id` is not used, because a payment link takes it from its buyer's URL.
    """
    return parse_id((session_or_payment.get("metadata") or {}).get("topup_id", ""))


def _order_of_payment(payment_intent: str) -> TopUp | None:
    """Return the paid order of a PaymentIntent; None if that is not ours, or for an empty one.

    Raises TooEarly if the order is not completed yet, and TopUpConflict if it has another payment or does not exist.
    Stripe delivers a refused event again, when the order is completed. If the completion itself was lost,
    reconciliation finds it.
    """
    if not payment_intent:
        return None
    topup = TopUp.objects.filter(provider=NAME, payment_reference=payment_intent).first()
    if topup is not None:
        return topup
    topup_id = parse_id(topup_id_of_payment(payment_intent))
    if topup_id is None:
        return None
    topup = TopUp.objects.filter(provider=NAME, pk=topup_id).first()
    if topup is None:
        raise TopUpConflict(f"payment {payment_intent} is for {topup_id}, and there is no such order")
    if topup.state != TopUpState.PAID:
        raise TooEarly(f"{topup} is not completed yet")
    if topup.payment_reference != payment_intent:
        raise TopUpConflict(f"{topup} was paid by {topup.payment_reference}, not by {payment_intent}")
    return topup


def _note(stored: PaymentEvent, outcome: Outcome, error: Exception, level: int) -> Outcome:
    """Store the reason on the event, which stays open, and log it."""
    logger.log(
        level, "Stripe event %s (%s) is %s: %r", stored.event_id, stored.type, outcome.value, error, exc_info=error
    )
    PaymentEvent.objects.filter(pk=stored.pk, processed_at=None).update(error=repr(error)[:300])
    return outcome


READERS: dict[str, Callable[[StripeJson], Change | None]] = {
    "payment_intent.succeeded": _read_payment,
    "payment_intent.payment_failed": _read_payment,
    "checkout.session.completed": _read_completed,
    "checkout.session.async_payment_succeeded": _read_completed,
    "checkout.session.async_payment_failed": _read_failed,
    "checkout.session.expired": _read_expired,
    "charge.refunded": _read_refunded,
    "charge.refund.updated": _read_refunded,
    "refund.created": _read_refunded,
    "refund.updated": _read_refunded,
    "refund.failed": _read_refunded,
    "charge.dispute.created": _read_disputed,
    "charge.dispute.updated": _read_disputed,
    "charge.dispute.closed": _read_disputed,
    "charge.dispute.funds_withdrawn": _read_disputed,
    "charge.dispute.funds_reinstated": _read_disputed,
}
