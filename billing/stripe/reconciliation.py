"""Comparison of our payments, refunds and disputes with Stripe's. It reports differences and changes nothing.

A webhook can be lost for good, because Stripe gives up after three days. Then a customer has paid and got nothing, or
has both the money and the credits, and only this comparison notices.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Q
from django.dispatch import Signal
from django.utils import timezone

from billing.currencies import format_money
from billing.models import TopUp, TopUpState
from billing.stripe.amounts import as_stripe_writes
from billing.stripe.provider import (
    NAME,
    Returned,
    StripeJson,
    StripeProvider,
    automatic_payments_since,
    disputed_minor,
    id_of,
    parse_id,
    returned_since,
    session_named,
    sessions_since,
)

DAYS = 3
# How old an open order may be to be asked about. A session lives a day, and its bank transfer may take two weeks.
OPEN_ORDER_DAYS = 30
# How far back refunds and disputes are listed. A card payment can be disputed for 120 days; a refund in the dashboard
# has no time limit.
RETURN_DAYS = 180
payments_compared = Signal()  # sent with `findings` after the daily comparison


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference, which a person must resolve."""

    problem: str
    topup_id: str
    checkout_reference: str
    detail: str

    def __str__(self) -> str:
        return f"{self.problem}: order {self.topup_id}, checkout {self.checkout_reference}, {self.detail}"


def reconcile(*, days: int = DAYS) -> list[Finding]:
    """Return every difference about the payments of the last `days`. Raises payments.PaymentError without an answer.

    A payment may be reported because its webhook is still on the way; the next run does not report it any more.
    """
    if NAME not in settings.PAYMENT_PROVIDERS:
        return []
    started_at = timezone.now()
    since = started_at - timedelta(days=days)
    sessions = {session["id"]: session for session in sessions_since(since)}
    asked = [topup for topup in _orders_to_ask_about(since) if topup.checkout_reference not in sessions]
    for topup in asked:
        session = session_named(topup.checkout_reference) if topup.checkout_reference else None
        if session is not None:
            sessions[session["id"]] = session
    sessions |= _automatic_payments(since)
    paid = {key: session for key, session in sessions.items() if session["payment_status"] == "paid"}
    findings = [finding for session in paid.values() for finding in _check_session(session)]
    findings += _unknown_to_stripe(since, started_at, paid)
    return findings + list(_compare_returns(started_at - timedelta(days=max(days, RETURN_DAYS))))


def _automatic_payments(since: datetime) -> dict[str, StripeJson]:
    """Return the charges of automatic orders, which have no session, in the form of sessions.

    Stripe is asked only if there were such orders.
    """
    lately = TopUp.objects.automatic().filter(Q(created_at__gte=since) | Q(paid_at__gte=since), provider=NAME)
    first = lately.order_by("created_at").first()
    if first is None:
        return {}
    return {
        payment["id"]: {
            "id": payment["id"],
            "payment_status": "paid" if payment["status"] == "succeeded" else "unpaid",
            "amount_total": payment["amount_received"],
            "currency": payment["currency"],
            "payment_intent": payment["id"],
            "metadata": payment["metadata"],
        }
        for payment in automatic_payments_since(first.created_at - timedelta(minutes=5))
    }


def _orders_to_ask_about(since: datetime) -> list[TopUp]:
    """Return orders that were paid lately, or that may have been paid without our knowing."""
    is_open = Q(state__in=[TopUpState.CREATED, TopUpState.PENDING]) & ~Q(checkout_reference="")
    may_be_paid = is_open & Q(created_at__gte=timezone.now() - timedelta(days=OPEN_ORDER_DAYS))
    return list(TopUp.objects.filter(Q(paid_at__gte=since) | may_be_paid, provider=NAME).order_by("created_at"))


def _check_session(session: StripeJson) -> Iterator[Finding]:
    """Yield what is wrong with a paid session. Sessions of other software on the account carry no id of an order."""
    text = (session.get("metadata") or {}).get("topup_id", "")
    topup_id = parse_id(text)
    if topup_id is None:
        return
    topup = TopUp.objects.filter(provider=NAME, pk=topup_id).first()
    took = f"{session['amount_total']} {session['currency']}"
    if topup is None:
        yield Finding("paid, but there is no such order", text, session["id"], took)
        return
    if topup.state != TopUpState.PAID:
        yield Finding("paid but not credited", text, session["id"], f"{took}, the order is {topup.state}")
    elif topup.payment_reference != id_of(session["payment_intent"]):
        detail = f"{id_of(session['payment_intent'])} besides {topup.payment_reference}"
        yield Finding("paid twice, credited once", text, session["id"], detail)
    wanted = as_stripe_writes(topup.amount_minor, topup.currency)
    if (session["amount_total"], session["currency"]) != (wanted, topup.currency):
        detail = f"Stripe took {took}, the order is for {wanted} {topup.currency}"
        yield Finding("another amount was paid", text, session["id"], detail)


def _unknown_to_stripe(since: datetime, until: datetime, paid: dict[str, StripeJson]) -> Iterator[Finding]:
    """Yield orders that were credited before Stripe was asked, and for which Stripe has no payment."""
    known = {id_of(session["payment_intent"]) for session in paid.values()}
    for topup in TopUp.objects.filter(provider=NAME, state=TopUpState.PAID, paid_at__range=(since, until)):
        if topup.payment_reference not in known:
            price = format_money(topup.amount_minor, topup.currency)
            detail = f"{price}, payment {topup.payment_reference or 'none'}"
            yield Finding("credited but not paid", str(topup.pk), topup.checkout_reference, detail)


def _compare_returns(since: datetime) -> Iterator[Finding]:
    """Yield payments whose refunds or disputes differ between Stripe and us.

    For a payment made since then, the two lists contain everything that went back. For an older payment in the lists,
    Stripe is asked for everything.
    """
    returned = returned_since(since)
    was_returned = Q(refunded_minor__gt=0) | Q(disputed_minor__gt=0)
    ours = TopUp.objects.filter(provider=NAME, state=TopUpState.PAID).order_by("paid_at")
    for topup in ours.filter(Q(payment_reference__in=[*returned]) | was_returned & Q(paid_at__gte=since)):
        at_stripe = returned.get(topup.payment_reference, Returned())
        amounts = (at_stripe.refunded_minor, at_stripe.disputed_minor(topup))
        if topup.paid_at is not None and topup.paid_at < since:
            live = [one.amount_minor for one in StripeProvider().refunds_of(topup) if one.is_live]
            amounts = (sum(live), disputed_minor(topup.payment_reference, topup))
        for done, theirs, here in zip(
            ("refunded", "disputed"), amounts, (topup.refunded_minor, topup.disputed_minor), strict=True
        ):
            if min(theirs, topup.amount_minor) != here:
                problem = f"{done} at Stripe, not here" if theirs > here else f"{done} here, not at Stripe"
                at_theirs, at_ours = (format_money(minor, topup.currency) for minor in (theirs, here))
                detail = f"Stripe says {at_theirs}, we say {at_ours}"
                yield Finding(problem, str(topup.pk), topup.checkout_reference, detail)
