"""Orders, and what becomes of their payments."""

from uuid import uuid4

from billing import ledger
from billing.models import Debt, TopUp
from billing.topups import orders
from tests.billing.holds import open_hold
from tests.support.cast import CREDIT


def order(user, amount_minor=500, bonus=0, provider="bank"):
    """An order of this many cents as a provider would find it: 1 credit a cent, and a bonus in microcredits."""
    return TopUp.objects.create(
        user=user,
        provider=provider,
        amount_minor=amount_minor,
        currency="usd",
        credits_microcredits=amount_minor * CREDIT,
        bonus_microcredits=bonus,
        idempotency_key=str(uuid4()),
        inputs_hash="test",
    )


def complete(topup, provider="bank", amount_minor=None, currency="usd"):
    return orders.complete_topup(
        topup_id=topup.pk,
        provider=provider,
        amount_minor=topup.amount_minor if amount_minor is None else amount_minor,
        currency=currency,
        payment_reference=f"payment-{topup.pk}",
    )


def refunded(topup, minor):
    reading = TopUp.objects.get(pk=topup.pk).refund_readings
    return orders.set_refunded(topup_id=topup.pk, provider="bank", refunded_minor=minor, reading=reading)


def disputed(topup, minor):
    return orders.set_disputed(topup_id=topup.pk, provider="bank", disputed_minor=minor)


def spend_credits(user, credits_to_spend):
    """Spend whole credits on answers."""
    tokens = credits_to_spend * 25_000 - 1  # at 40 each; the prompt's two at 20 make it whole credits
    ledger.settle(hold_id=open_hold(user, 2, tokens).pk, completion_tokens=tokens)


def owe(user):
    Debt.objects.create(
        wallet=user.wallet, topup=order(user), amount_microcredits=5, remaining_microcredits=5, idempotency_key="owed"
    )
