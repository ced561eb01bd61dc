"""Stripe: the checkout says exactly what the order is, and whatever Stripe does, nothing is done twice."""

import time

import pytest

from billing.models import TopUp
from billing.stripe.provider import MOST_RETRIES, StripeProvider
from billing.topups.payments import PaymentError
from tests.billing.stripe.stripe_orders import balance, order

# Checkout


def test_a_checkout_says_exactly_what_the_order_is(stripe, bob, settings):
    settings.PUBLIC_URL = "https://tally.example"
    topup = order(bob)
    ((method, path, sent),) = stripe.requests
    assert (method, path) == ("POST", "/v1/checkout/sessions")
    page = f"https://tally.example/credits/top-ups/{topup.pk}/"
    assert sent == {
        "mode": "payment",
        "line_items[0][quantity]": "1",
        "line_items[0][price_data][currency]": "usd",
        "line_items[0][price_data][unit_amount]": "10000",
        "line_items[0][price_data][product_data][name]": "Tally credits",
        "client_reference_id": str(topup.pk),
        "metadata[topup_id]": str(topup.pk),
        "payment_intent_data[metadata][topup_id]": str(topup.pk),
        "customer_email": "bob@example.com",
        "success_url": f"{page}?paid=1",
        "cancel_url": f"{page}?cancelled=1",
    }
    assert topup.checkout_url == f"https://checkout.stripe.com/c/pay/{topup.checkout_reference}"
    assert balance(bob) == 0


def test_a_checkout_asked_for_again_is_the_same_one(stripe, bob):
    topup = order(bob)
    again = StripeProvider().start_checkout(topup)
    assert (again.reference, again.url) == (topup.checkout_reference, topup.checkout_url)
    assert len(stripe.objects["checkout/sessions"]) == 1


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 429, 500, 503, 0])
def test_whatever_stripe_does_is_a_sentence_for_people_and_the_order_can_be_tried_again(stripe, bob, status):
    stripe.failures = [status] * (MOST_RETRIES + 1)
    with pytest.raises(PaymentError, match=r"No money has moved|nothing is ever done twice"):
        order(bob, key="k")
    asked = len(stripe.requests)
    assert asked == (1 if 400 <= status < 500 else MOST_RETRIES + 1)
    stripe.failures = []
    assert order(bob, key="k").checkout_url
    assert TopUp.objects.count() == 1


@pytest.mark.parametrize("status", [503, 0])
def test_one_broken_answer_is_retried_by_the_library(stripe, bob, status):
    stripe.failures = [status]
    assert order(bob).checkout_url
    assert len(stripe.requests) == 2


def test_a_stripe_that_does_not_answer_is_given_up_on(stripe, bob, monkeypatch):
    monkeypatch.setattr("billing.stripe.provider.TIMEOUT_SECONDS", (0.2, 0.2))
    slow = stripe.answer
    stripe.answer = lambda *request: (time.sleep(0.6), slow(*request))[1]
    started_at = time.monotonic()
    with pytest.raises(PaymentError, match="cannot be reached"):
        order(bob)
    assert time.monotonic() - started_at < 3
