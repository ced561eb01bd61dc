"""Are Stripe and we of one mind about who paid, and what went back? Compares; credits and takes nothing by itself.

A webhook can be lost for good: Stripe gives up after three days. Then a customer has paid and has nothing, or has
the money back and the credits too, and only this comparison notices.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Q
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
# A session lives a day, and a bank transfer into it may take two weeks: how far back an open order is asked about.
OPEN_ORDER_DAYS = 30
# A card payment can be disputed for 120 days, and a refund in the dashboard has no end: how far back both are listed.
RETURN_DAYS = 180


@dataclass(frozen=True, slots=True)
class Finding:
    """One disagreement, for a person to settle."""

    problem: str
    topup_id: str
    checkout_reference: str
    detail: str

    def __str__(self) -> str:
        return f"{self.problem}: order {self.topup_id}, checkout {self.checkout_reference}, {self.detail}"


def reconcile(*, days: int = DAYS) -> list[Finding]:
    """Every disagreement about the payments of the last `days`. Raises payments.PaymentError without an answer.

    A payment of this very second may be found before its webhook arrives; the next run finds it no more.
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
    """Charges of automatic orders, which have no session, in the words of one; asked for where there were any."""
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
    """Orders that were paid lately, or may have been without our hearing of it."""
    is_open = Q(state__in=[TopUpState.CREATED, TopUpState.PENDING]) & ~Q(checkout_reference="")
    may_be_paid = is_open & Q(created_at__gte=timezone.now() - timedelta(days=OPEN_ORDER_DAYS))
    return list(TopUp.objects.filter(Q(paid_at__gte=since) | may_be_paid, provider=NAME).order_by("created_at"))


def _check_session(session: StripeJson) -> Iterator[Finding]:
    """What is wrong with a paid session. Sessions of whatever else is sold on the account carry no order's id."""
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
    """Orders that we had credited before Stripe was asked, and Stripe has no payment for."""
    known = {id_of(session["payment_intent"]) for session in paid.values()}
    for topup in TopUp.objects.filter(provider=NAME, state=TopUpState.PAID, paid_at__range=(since, until)):
        if topup.payment_reference not in known:
            price = format_money(topup.amount_minor, topup.currency)
            detail = f"{price}, payment {topup.payment_reference or 'none'}"
            yield Finding("credited but not paid", str(topup.pk), topup.checkout_reference, detail)


def _compare_returns(since: datetime) -> Iterator[Finding]:
    """Payments whose refunds or disputes are not the same here and at Stripe.

    Of a payment made since then the two lists hold all that went back. Of an older one that is in them, Stripe is
    asked for everything.
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
