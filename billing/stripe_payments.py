"""Payments by Stripe: what Tally asks of its API. What Stripe tells Tally is in `stripe_events`.

Facts from https://docs.stripe.com/api: amounts are minor units of a lower-case ISO currency; a POST with the same
Idempotency-Key and parameters gets the same answer for 24 hours; `payment_intent_data.metadata` lands on the
PaymentIntent. The library retries a broken connection, 409 and 5xx.
"""

import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import stripe
from django.conf import settings
from django.utils.translation import gettext as _

from billing.models import TopUp
from billing.payments import Checkout, PaymentError

logger = logging.getLogger(__name__)

NAME = "stripe"
# A customer waits: connect and read limits in seconds for each of at most three tries.
TIMEOUT_SECONDS = (3.0, 8.0)
MOST_RETRIES = 2
SIGNATURE_TOLERANCE_SECONDS = 300
PRODUCT_NAME = "Tally credits"  # not translated: a retry must send the same parameters, whoever's language it has

# A dispute in any other state has taken the money, or may. Inquiries (warning_*) and prevented ones never did.
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


class StripeProvider:
    """Checkout Sessions: the customer pays on Stripe's page; webhooks and `reconciliation` say what came of it."""

    name = NAME

    def start_checkout(self, topup: TopUp) -> Checkout:
        """Open a Checkout Session for exactly this order, the same one when asked again. Raises PaymentError."""
        page = f"{settings.PUBLIC_URL}/credits/top-ups/{topup.pk}/"
        metadata = {"topup_id": str(topup.pk)}
        with api() as client:
            session = client.v1.checkout.sessions.create(
                params={
                    "mode": "payment",
                    "line_items": [
                        {
                            "quantity": 1,
                            "price_data": {
                                "currency": topup.currency,
                                "unit_amount": topup.amount_minor,
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
        """Give money of a paid order back, once for each key. Raises PaymentError.

        Stripe forgets keys after a day, and a refund whose answer was lost may be sent again later than that. So the
        key is also written on the refund and looked for first.
        """
        if not topup.payment_reference:
            raise PaymentError(_("This order was not paid through Stripe, so there is nothing to give back."))
        with api() as client:
            earlier = client.v1.refunds.list(params={"payment_intent": topup.payment_reference, "limit": 100})
            same = (one for one in earlier.auto_paging_iter() if _metadata(one).get("key") == idempotency_key)
            found = next(same, None)
            refund = found or client.v1.refunds.create(
                params={
                    "payment_intent": topup.payment_reference,
                    "amount": amount_minor,
                    "metadata": {"topup_id": str(topup.pk), "key": idempotency_key},
                },
                options={"idempotency_key": idempotency_key},
            )
        if refund.status in {"failed", "canceled"}:
            raise PaymentError(_("Stripe could not give the money back. Nothing was refunded."))


@contextmanager
def api() -> Iterator[stripe.StripeClient]:
    """A client for one piece of work. Whatever Stripe or the network does to it becomes a PaymentError."""
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
    """The event in a webhook's body, as plain JSON. Raises ForgedEvent unless Stripe signed it, and recently."""
    if not settings.STRIPE_WEBHOOK_SECRET.strip():  # the settings refuse to start so, and this does not trust them
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
    """The order that a PaymentIntent was made for; empty for a payment that is none of ours. Raises PaymentError."""
    with api() as client:
        payment = client.v1.payment_intents.retrieve(payment_intent)
    return str(_metadata(payment).get("topup_id", ""))


def disputed_minor(payment_intent: str, topup: TopUp) -> int:
    """How much of a payment its disputes have taken as of now, won ones left out. Raises PaymentError.

    A dispute may be in another currency than its charge; then all of the payment counts as disputed.
    """
    with api() as client:
        disputes = client.v1.disputes.list(params={"payment_intent": payment_intent, "limit": 100})
        found = [_plain(dispute) for dispute in disputes.auto_paging_iter()]
    return sum(
        dispute["amount"] if dispute["currency"] == topup.currency else topup.amount_minor
        for dispute in found
        if dispute["status"] not in DISPUTE_STATES_WITHOUT_LOSS
    )


def sessions_since(since: datetime) -> list[StripeJson]:
    """Every Checkout Session made since then, all pages. Raises PaymentError."""
    with api() as client:
        sessions = client.v1.checkout.sessions.list(params={"created": {"gte": int(since.timestamp())}, "limit": 100})
        return [_plain(session) for session in sessions.auto_paging_iter()]


def session_named(checkout_reference: str) -> StripeJson | None:
    """One Checkout Session, or None when Stripe has no such. Raises PaymentError."""
    with api() as client:
        try:
            return _plain(client.v1.checkout.sessions.retrieve(checkout_reference))
        except stripe.InvalidRequestError as error:
            if error.http_status != 404:
                raise
            return None


def id_of(value: Any) -> str:
    """The id of a field that holds an id, the whole object, or nothing."""
    return str((value.get("id") if isinstance(value, dict) else value) or "")


def parse_topup_id(text: str) -> UUID | None:
    """An order's id as Stripe gives it back, or None for what is not one of ours."""
    try:
        return UUID(text)
    except ValueError:
        return None


def _plain(found: stripe.StripeObject) -> StripeJson:
    """A Stripe object as plain JSON, all the way down."""
    return found.to_dict(for_json=True)


def _metadata(found: stripe.StripeObject) -> StripeJson:
    return _plain(found).get("metadata") or {}


def _for_people(error: stripe.StripeError) -> PaymentError:
    """What to tell whoever waits. The details go to the log, without the request's parameters."""
    logger.error("Stripe: %s, status %s, request %s", type(error).__name__, error.http_status, error.request_id)
    if isinstance(error, stripe.CardError | stripe.InvalidRequestError | stripe.IdempotencyError):
        return PaymentError(_("Stripe refused this. No money has moved."))
    if isinstance(error, stripe.AuthenticationError | stripe.PermissionError):
        return PaymentError(_("Payments are not set up correctly here. No money has moved."))
    return PaymentError(_("Stripe cannot be reached just now. Try again in a minute: nothing is ever done twice."))
