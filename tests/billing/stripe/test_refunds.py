"""Refunds through Stripe: made here or in its dashboard, sent twice, returned by the bank."""

from uuid import uuid4

import pytest

from billing import ledger
from billing.models import PaymentEvent
from billing.refunds import payouts
from billing.stripe.provider import StripeProvider
from billing.topups.payments import PaymentError, PaymentRefused
from tests.billing.grants import spend
from tests.billing.stripe.signing import deliver
from tests.billing.stripe.stripe_orders import TOTAL, alerts, balance, buy, order, owed
from tests.support.cast import at_once

pytestmark = pytest.mark.usefixtures("without_answers")

# Refunds asked for here


def test_a_refund_here_and_its_webhook_take_the_credits_back_once(stripe, bob):
    topup = buy(stripe, bob)
    for _again in range(2):
        StripeProvider().refund(topup, 2_500, "refund:1")
    payouts.follow_refunds(topup_id=topup.pk)
    charge = stripe.charge_of(topup.payment_reference)
    assert charge["amount_refunded"] == 2_500
    assert deliver(stripe.event("charge.refunded", charge)) == 200
    assert balance(bob) == TOTAL * 3 // 4


def test_a_refund_sent_again_after_stripe_forgot_its_key_is_made_once(stripe, bob):
    topup = buy(stripe, bob)
    StripeProvider().refund(topup, 2_500, "refund:1")
    stripe.forget_keys()
    StripeProvider().refund(topup, 2_500, "refund:1")
    StripeProvider().refund(topup, 1_000, "refund:2")
    assert stripe.charge_of(topup.payment_reference)["amount_refunded"] == 3_500


@pytest.mark.django_db(transaction=True)
def test_a_refund_sent_twice_at_once_is_made_once(stripe, bob):
    topup = buy(stripe, bob)
    assert at_once(4, lambda _n: StripeProvider().refund(topup, 2_500, "refund:1")) == [None] * 4
    assert stripe.charge_of(topup.payment_reference)["amount_refunded"] == 2_500


def test_a_key_used_with_other_parameters_is_refused(stripe, bob):
    topup = order(bob)
    topup.amount_minor = 20_000
    with pytest.raises(PaymentError, match="No money has moved"):
        StripeProvider().start_checkout(topup)


def test_a_refund_above_the_payment_or_of_no_payment_is_refused(stripe, bob):
    topup = buy(stripe, bob)
    StripeProvider().refund(topup, 9_000, "refund:1")
    with pytest.raises(PaymentRefused, match="greater than unrefunded"):
        StripeProvider().refund(topup, 1_001, "refund:2")
    with pytest.raises(PaymentRefused, match="nothing to give back"):
        StripeProvider().refund(order(bob), 1, "refund:3")
    assert len(stripe.objects["refunds"]) == 1


# Refunds


def test_refunds_in_the_dashboard_take_their_share_back_and_an_old_total_changes_nothing(stripe, bob):
    topup = buy(stripe, bob)
    first, second = (stripe.refund(topup.payment_reference, amount) for amount in (2_500, 5_000))
    assert deliver(second) == 200
    assert balance(bob) == TOTAL // 4
    assert deliver(first) == 200
    assert balance(bob) == TOTAL // 4
    assert deliver(stripe.refund(topup.payment_reference, 2_500)) == 200
    assert balance(bob) == 0


def test_a_refund_after_the_credits_were_spent_is_owed_and_nothing_can_be_bought(stripe, bob):
    topup = buy(stripe, bob)
    spend(bob, 100)  # 4,020
    assert deliver(stripe.refund(topup.payment_reference, 10_000)) == 200
    assert (balance(bob), owed(bob)) == (0, 4_020)
    with pytest.raises(ledger.CreditsOwed):
        spend(bob, 1)


def test_a_refund_before_the_completion_is_sent_again_by_stripe_and_then_taken(stripe, bob, caplog):
    topup = order(bob)
    completed = stripe.pay(topup.checkout_reference)
    refunded = stripe.refund(completed["data"]["object"]["payment_intent"], 10_000)
    assert deliver(refunded) == 409
    assert "TooEarly" in PaymentEvent.objects.get().error
    assert alerts(caplog) == []
    assert [deliver(completed), deliver(refunded)] == [200, 200]
    assert balance(bob) == 0


def test_a_refund_of_an_order_that_is_not_here_is_kept_and_shouted_about(stripe, bob, caplog):
    buy(stripe, bob)
    lost = {"topup_id": str(uuid4())}  # the database was restored from before it
    other = stripe._charge({"amount_total": 10_000, "currency": "usd", "payment_metadata": lost})
    assert deliver(stripe.refund(other, 10_000)) == 200
    assert "there is no such order" in PaymentEvent.objects.get(processed_at=None).error
    assert len(alerts(caplog)) == 1
    assert balance(bob) == TOTAL
