"""What the Stripe tests share besides fixtures: how one buys through the tests' own Stripe, and what came of it."""

import logging
from uuid import uuid4

from billing import ledger
from billing.models import TopUp, TopUpState, Wallet
from billing.topups import orders
from billing.topups.orders import Offer
from tests.billing.stripe.signing import deliver
from tests.support.cast import CREDIT

PAID = "checkout.session.completed"
TOTAL = 11_000 * CREDIT  # what `order` buys for 100.00: 10,000 credits and 1,000 as a bonus


def order(user, key=None):
    """Order 10,000 credits and 1,000 more for 100.00 dollars, and open the checkout."""
    offer = Offer(10_000, "usd", 10_000 * CREDIT, 1_000 * CREDIT)
    return orders.start_topup(user=user, offer=offer, idempotency_key=key or str(uuid4()))


def buy(stripe, user):
    """Order and pay; return the paid order."""
    topup = order(user)
    assert deliver(stripe.pay(topup.checkout_reference)) == 200
    topup.refresh_from_db()
    assert topup.state == TopUpState.PAID
    return topup


def balance(user):
    return Wallet.objects.get(user=user).balance_microcredits


def owed(user):
    return ledger.owed_microcredits(wallet=Wallet.objects.get(user=user))


def state_of(topup):
    return TopUp.objects.get(pk=topup.pk).state


def alerts(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno == logging.CRITICAL]


def dispute_id(event):
    return event["data"]["object"]["id"]
