"""Tally's requests to Stripe's API. `billing.stripe.events` handles what Stripe tells Tally.

Facts from https://docs.stripe.com/api: currencies are ISO codes in lower case; amounts are integers as described in
`billing.stripe.amounts`; a POST with the same Idempotency-Key and parameters gets the same answer for 24 hours;
`payment_intent_data.metadata` is copied to the PaymentIntent. The library retries broken connections, 409 and 5xx.
"""

import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import stripe
from django.conf import settings
from django.utils.translation import gettext as _

from billing.models import SavedCard, TopUp
from billing.stripe.amounts import amount_for_stripe, minor_of_stripe
from billing.topups.payments import (
    AUTHENTICATION_REQUIRED,
    CardSetup,
    Charge,
    ChargeOutcome,
    Checkout,
    KeptCard,
    PaymentError,
    PaymentRefused,
    ProviderRefund,
)

logger = logging.getLogger(__name__)

NAME = "stripe"
# Limits for connecting and reading, in seconds, for each of at most three tries. They are short: a customer waits.
TIMEOUT_SECONDS = (3.0, 8.0)
MOST_RETRIES = 2
SIGNATURE_TOLERANCE_SECONDS = 300
PRODUCT_NAME = "Tally credits"  # not translated: a retry must send the same parameters in every language

REFUND_STATES_WITHOUT_MONEY = {"failed", "canceled"}  # "pending" and "requires_action" are on their way

# A dispute in any other state has taken the money, or may take it. Inquiries (warning_*) and prevented ones do not.
DISPUTE_STATES_WITHOUT_LOSS = {
    "won",
    "prevented",
    "warning_needs_response",
    "warning_under_review",
    "warning_closed",
}

StripeJson = dict[str, Any]
Result = TypeVar("Result")


class ForgedEvent(Exception):
    """The body is not one that Stripe signed with our secret within the last five minutes."""


@dataclass(slots=True)
class Returned:
    """How much of one payment went back: refunds in smallest units, and each dispute with its own currency."""

    refunded_minor: int = 0
    disputes: list[tuple[int, str]] = field(default_factory=list)

    def disputed_minor(self, topup: TopUp) -> int:
        """Return what disputes hold, in minor units. A dispute in another currency holds all of the payment."""
        return sum(amount if currency == topup.currency else topup.amount_minor for amount, currency in self.disputes)


class StripeProvider:
    """Checkout Sessions: the customer pays on Stripe's page; webhooks and `reconciliation` report the result.

    Checkout in setup mode also keeps the cards, so card numbers never reach us.
    """

    name = NAME

    def start_checkout(self, topup: TopUp) -> Checkout:
        """Open a Checkout Session for exactly this order, the same one when asked again. Raises PaymentError."""
        page = f"{settings.PUBLIC_URL}/credits/top-ups/{topup.pk}/"
        metadata = {"topup_id": str(topup.pk)}
        amount = amount_for_stripe(topup.amount_minor, topup.currency)
        with api() as client:
            session = client.v1.checkout.sessions.create(
                params={
                    "mode": "payment",
                    "line_items": [
                        {
                            "quantity": 1,
                            "price_data": {
                                "currency": topup.currency,
                                "unit_amount": amount,
                                "product_data": {"name": PRODUCT_NAME},
                            },
                        }
                    ],
                    "client_reference_id": str(topup.pk),
                    "metadata": metadata,
                    "payment_intent_data": {"metadata": metadata},
                    "customer_email": topup.user.email,
                    "success_url": f"{page}?paid=1",
                    "cancel_url": f"{page}?cancelled=1",
                },
                options={"idempotency_key": f"topup:{topup.pk}"},
            )
        return Checkout(reference=session.id, url=session.url or "")

    def refund(self, topup: TopUp, amount_minor: int, idempotency_key: str) -> None:
        """Give money of a paid order back, once for each key. Raises PaymentRefused or PaymentError.

        Stripe forgets keys after a day, and a refund whose answer was lost may be sent again later than that. So the
        key is also stored on the refund at Stripe and looked for first. `refunds_of` reports what became of the refund.
        """
        if not topup.payment_reference:
            raise PaymentRefused(_("This order was not paid through Stripe, so there is nothing to give back."))
        amount = amount_for_stripe(amount_minor, topup.currency)
        if any(one.key == idempotency_key for one in self.refunds_of(topup)):
            return
        with api() as client:
            try:
                client.v1.refunds.create(
                    params={
                        "payment_intent": topup.payment_reference,
                        "amount": amount,
                        "metadata": {"topup_id": str(topup.pk), "key": idempotency_key},
                    },
                    options={"idempotency_key": idempotency_key},
                )
            except (stripe.CardError, stripe.InvalidRequestError) as error:  # 400, 402, 404: about the request itself
                reason = ": ".join(filter(None, [error.code, error.user_message]))
                raise PaymentRefused(_("Stripe refused: {reason}").format(reason=reason)) from error

    def refunds_of(self, topup: TopUp) -> list[ProviderRefund]:
        """Every refund of the order's payment as of now, all pages. Raises PaymentError."""
        if not topup.payment_reference:
            return []
        with api() as client:
            found = client.v1.refunds.list(params={"payment_intent": topup.payment_reference, "limit": 100})
            return [_read_refund(_plain(refund)) for refund in found.auto_paging_iter()]

    def start_card_setup(self, card: SavedCard) -> CardSetup:
        """Open a Checkout Session in setup mode, for a Stripe customer that is made once. Raises PaymentError."""
        page = f"{settings.PUBLIC_URL}/credits/spending/"
        with api() as client:
            customer = (
                card.customer_reference
                or client.v1.customers.create(
                    params={"email": card.wallet.user.email, "metadata": {"card_id": str(card.pk)}},
                    options={"idempotency_key": f"customer:{card.pk}"},
                ).id
            )
            session = client.v1.checkout.sessions.create(
                params={
                    "mode": "setup",
                    "customer": customer,
                    "allowed_payment_method_types": ["card"],
                    "metadata": {"card_id": str(card.pk)},
                    "success_url": f"{page}?card=1",
                    "cancel_url": page,
                },
            )
        return CardSetup(customer_reference=customer, reference=session.id, url=session.url or "")

    def read_card(self, card: SavedCard) -> KeptCard | None:
        """Return the card of a completed setup session, or None while it is not completed. Raises PaymentError."""
        session = session_named(card.setup_reference)
        return card_of_setup(id_of(session["setup_intent"])) if session and session["status"] == "complete" else None

    def forget_card(self, card: SavedCard) -> None:
        """Detach the card from its customer. It is no error if Stripe no longer has the card. Raises PaymentError."""
        with api() as client:
            try:
                client.v1.payment_methods.detach(card.method_reference)
            except stripe.InvalidRequestError as error:
                logger.warning("Stripe does not know the card any more: %s", error.code)

    def charge_card(self, topup: TopUp, card: SavedCard) -> Charge:
        """Make and confirm a PaymentIntent without the customer (off_session). Raises PaymentError.

        Stripe forgets keys after a day, so the order's payment is looked for before one is made.
        """
        metadata = {"topup_id": str(topup.pk), "automatic": "yes"}
        amount = amount_for_stripe(topup.amount_minor, topup.currency)
        with api() as client:
            made = client.v1.payment_intents.list(params={"customer": card.customer_reference, "limit": 100})
            own = (one for one in made.auto_paging_iter() if _metadata(one).get("topup_id") == metadata["topup_id"])
            found = next(own, None)
            try:
                payment = found or client.v1.payment_intents.create(
                    params={
                        "amount": amount,
                        "currency": topup.currency,
                        "customer": card.customer_reference,
                        "payment_method": card.method_reference,
                        "allowed_payment_method_types": ["card"],
                        "confirm": True,
                        "off_session": True,
                        "description": PRODUCT_NAME,
                        "metadata": metadata,
                    },
                    options={"idempotency_key": f"charge:{topup.pk}"},
                )
            except stripe.CardError as error:
                return Charge(ChargeOutcome.DECLINED, "", error.code or "card_declined")
        return charge_of(_plain(payment))


def charge_of(payment: StripeJson) -> Charge:
    """Return the outcome of an off-session PaymentIntent (https://docs.stripe.com/payments/paymentintents)."""
    match payment["status"]:
        case "succeeded":
            return Charge(ChargeOutcome.PAID, payment["id"])
        case "processing":
            return Charge(ChargeOutcome.PENDING, payment["id"])
        case "requires_action":
            return Charge(ChargeOutcome.DECLINED, payment["id"], AUTHENTICATION_REQUIRED)
    failure = payment.get("last_payment_error") or {}
    return Charge(ChargeOutcome.DECLINED, payment["id"], failure.get("code") or payment["status"])


def card_of_setup(setup_intent: str) -> KeptCard | None:
    """Return the card that a SetupIntent kept, or None while it has kept none. Raises PaymentError."""
    with api() as client:
        found = _plain(client.v1.setup_intents.retrieve(setup_intent, params={"expand": ["payment_method"]}))
    if found["status"] != "succeeded":
        return None
    method = found["payment_method"]
    return KeptCard(method["id"], method["card"]["brand"], method["card"]["last4"])


def automatic_payments_since(since: datetime) -> list[StripeJson]:
    """Every PaymentIntent of an automatic order made since then, all pages. Raises PaymentError."""
    with api() as client:
        made = client.v1.payment_intents.list(params={"created": {"gte": int(since.timestamp())}, "limit": 100})
        payments = [_plain(payment) for payment in made.auto_paging_iter()]
    return [payment for payment in payments if (payment.get("metadata") or {}).get("automatic")]


@contextmanager
def api() -> Iterator[stripe.StripeClient]:
    """Give a client for one piece of work. Errors of Stripe and of the network become a PaymentError."""
    with closing(stripe.RequestsClient(timeout=TIMEOUT_SECONDS)) as http:
        try:
            yield stripe.StripeClient(
                settings.STRIPE_SECRET_KEY,
                http_client=http,
                max_network_retries=MOST_RETRIES,
                base_addresses={"api": settings.STRIPE_API_BASE or stripe.DEFAULT_API_BASE},
            )
        except stripe.StripeError as error:
            raise _for_people(error) from error


def verify_event(body: bytes, signature: str | None) -> StripeJson:
    """Return the event in a webhook's body as plain JSON. Raises ForgedEvent unless Stripe signed it recently."""
    if not settings.STRIPE_WEBHOOK_SECRET.strip():  # the settings refuse an empty one too; this does not rely on that
        raise ForgedEvent("no webhook secret is set")
    try:
        event = stripe.Webhook.construct_event(
            body, signature, settings.STRIPE_WEBHOOK_SECRET, SIGNATURE_TOLERANCE_SECONDS, settings.STRIPE_SECRET_KEY
        )
    except (ValueError, AttributeError, stripe.SignatureVerificationError) as error:
        raise ForgedEvent(str(error)) from error
    match found := _plain(event):
        case {"id": str(), "type": str(), "data": {"object": dict()}}:
            return found
    raise ForgedEvent("signed, but not an event")


def topup_id_of_payment(payment_intent: str) -> str:
    """Return the id of the order that a PaymentIntent was made for; empty if it is not ours. Raises PaymentError.

    A PaymentIntent that Stripe does not know was made by somebody else, for example on an account connected to this
    one.
    """
    with api() as client:
        try:
            payment = client.v1.payment_intents.retrieve(payment_intent)
        except stripe.InvalidRequestError as error:
            if error.http_status != 404:
                raise
            return ""
    return str(_metadata(payment).get("topup_id", ""))


def disputed_minor(payment_intent: str, topup: TopUp) -> int:
    """Return how much of a payment its disputes hold now, in minor units, without won ones. Raises PaymentError.

    A dispute may be in another currency than its charge; then all of the payment counts as disputed.
    """
    with api() as client:
        disputes = client.v1.disputes.list(params={"payment_intent": payment_intent, "limit": 100})
        found = [_plain(dispute) for dispute in disputes.auto_paging_iter()]
    losing = [dispute for dispute in found if dispute["status"] not in DISPUTE_STATES_WITHOUT_LOSS]
    return Returned(disputes=[_read_dispute(dispute) for dispute in losing]).disputed_minor(topup)


def returned_since(since: datetime) -> dict[str, Returned]:
    """Return what refunds and disputes made since then took of each PaymentIntent, all pages. Raises PaymentError."""
    start = int(since.timestamp())
    with api() as client:
        all_refunds = client.v1.refunds.list(params={"created": {"gte": start}, "limit": 100})
        refunds = [_plain(refund) for refund in all_refunds.auto_paging_iter()]
        all_disputes = client.v1.disputes.list(params={"created": {"gte": start}, "limit": 100})
        disputes = [_plain(dispute) for dispute in all_disputes.auto_paging_iter()]
    found: dict[str, Returned] = {}
    for refund in refunds:
        if refund["status"] not in REFUND_STATES_WITHOUT_MONEY:
            _of_payment(found, refund).refunded_minor += minor_of_stripe(refund["amount"], refund["currency"])
    for dispute in disputes:
        if dispute["status"] not in DISPUTE_STATES_WITHOUT_LOSS:
            _of_payment(found, dispute).disputes.append(_read_dispute(dispute))
    return found


def sessions_since(since: datetime) -> list[StripeJson]:
    """Every Checkout Session made since then, all pages. Raises PaymentError."""
    with api() as client:
        sessions = client.v1.checkout.sessions.list(params={"created": {"gte": int(since.timestamp())}, "limit": 100})
        return [_plain(session) for session in sessions.auto_paging_iter()]


def session_named(checkout_reference: str) -> StripeJson | None:
    """Return one Checkout Session, or None if Stripe does not have it. Raises PaymentError."""
    with api() as client:
        try:
            return _plain(client.v1.checkout.sessions.retrieve(checkout_reference))
        except stripe.InvalidRequestError as error:
            if error.http_status != 404:
                raise
            return None


def id_of(value: Any) -> str:
    """Return the id from a field that holds an id, the whole object, or nothing."""
    return str((value.get("id") if isinstance(value, dict) else value) or "")


def parse_id(text: str) -> UUID | None:
    """Return an id of ours (of an order or a card) as Stripe gives it back, or None if the text is not one."""
    try:
        return UUID(text)
    except ValueError:
        return None


def _plain(found: stripe.StripeObject) -> StripeJson:
    """A Stripe object as plain JSON, all the way down."""
    return found.to_dict(for_json=True)


def _of_payment(found: dict[str, Returned], refund_or_dispute: StripeJson) -> Returned:
    return found.setdefault(id_of(refund_or_dispute["payment_intent"]), Returned())


def _read_dispute(dispute: StripeJson) -> tuple[int, str]:
    return minor_of_stripe(dispute["amount"], dispute["currency"]), dispute["currency"]


def _read_refund(refund: StripeJson) -> ProviderRefund:
    is_live = refund["status"] not in REFUND_STATES_WITHOUT_MONEY
    return ProviderRefund(
        reference=refund["id"],
        key=(refund.get("metadata") or {}).get("key", ""),
        amount_minor=minor_of_stripe(refund["amount"], refund["currency"]),
        is_live=is_live,
        reason="" if is_live else f"{refund['status']}: {refund.get('failure_reason') or 'no reason given'}",
    )


def _metadata(found: stripe.StripeObject) -> StripeJson:
    return _plain(found).get("metadata") or {}


def _for_people(error: stripe.StripeError) -> PaymentError:
    """Return the error for the user. The details go to the log, without the request's parameters."""
    logger.error("Stripe: %s, status %s, request %s", type(error).__name__, error.http_status, error.request_id)
    if isinstance(error, stripe.CardError | stripe.InvalidRequestError | stripe.IdempotencyError):
        return PaymentError(_("Stripe refused this. No money has moved."))
    if isinstance(error, stripe.AuthenticationError | stripe.PermissionError):
        return PaymentError(_("Payments are not set up correctly here. No money has moved."))
    return PaymentError(_("Stripe cannot be reached just now. Try again in a minute: nothing is ever done twice."))
