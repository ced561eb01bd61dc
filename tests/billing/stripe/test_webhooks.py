"""Stripe: who may say that something was paid, and what comes of it in every order of delivery."""

import json
import logging
import os
import subprocess
import sys
import time
from typing import Any
from uuid import uuid4

import pytest
import stripe as stripe_library
from django.conf import settings as django_settings

from billing import ledger
from billing.models import PaymentEvent, TopUp, TopUpState
from billing.stripe import events as stripe_events
from tests.billing.stripe.signing import WEBHOOK, deliver, post, sign
from tests.billing.stripe.stripe_orders import PAID, TOTAL, alerts, balance, buy, order, state_of
from tests.core.postgresql.production import read_production

pytestmark = pytest.mark.usefixtures("without_answers")


# Who may say that something was paid


@pytest.mark.parametrize(
    "forgery", ["no signature", "nonsense", "other secret", "stale", "changed body", "other scheme"]
)
def test_a_forged_webhook_is_refused_and_leaves_nothing(stripe, bob, client, forgery):
    body = json.dumps(stripe.pay(order(bob).checkout_reference)).encode()
    signature = {
        "no signature": None,
        "nonsense": "t=now,v1=zzz",
        "other secret": sign(body, secret="whsec_guessed"),
        "stale": sign(body, at=time.time() - 301),
        "changed body": sign(body + b" "),
        "other scheme": sign(body).replace("v1=", "v0="),
    }[forgery]
    assert post(client, body, signature) == 400
    assert not PaymentEvent.objects.exists()
    assert balance(bob) == 0


@pytest.mark.parametrize("empty", ["", " "])
def test_an_empty_secret_signs_nothing(stripe, bob, client, settings, monkeypatch, empty):
    settings.STRIPE_WEBHOOK_SECRET = empty
    body = json.dumps(stripe.pay(order(bob).checkout_reference)).encode()
    for secret in ("", " ", "None"):
        assert post(client, body, sign(body, secret=secret)) == 400
    monkeypatch.setattr(stripe_library.WebhookSignature, "verify_header", lambda *_: True)  # the library's own guard
    assert post(client, body, sign(body, secret=empty)) == 400
    assert not PaymentEvent.objects.exists()
    assert balance(bob) == 0


def start_with(code, **environment):
    """Load the settings in a process of their own and run `code`; nothing of Stripe is set but what is given."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("STRIPE_")}
    return subprocess.run(
        [sys.executable, "-c", f"import django; django.setup(); from django.conf import settings; {code}"],
        env={**inherited, "DJANGO_SETTINGS_MODULE": "config.settings.test", **environment},
        cwd=django_settings.BASE_DIR,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("secret", [{}, {"STRIPE_WEBHOOK_SECRET": ""}, {"STRIPE_WEBHOOK_SECRET": "  "}])
def test_stripe_without_a_webhook_secret_refuses_to_start(secret):
    start = start_with("", STRIPE_SECRET_KEY="sk_test_x", **secret)
    assert start.returncode == 1
    assert "STRIPE_WEBHOOK_SECRET (whsec_...) must be set too" in start.stderr


def test_stripe_with_its_secrets_is_the_first_provider_and_its_page_may_be_redirected_to():
    show = "print([*settings.PAYMENT_PROVIDERS][0], settings.CONTENT_SECURITY_POLICY['DIRECTIVES']['form-action'])"
    start = start_with(show, STRIPE_SECRET_KEY="sk_test_x", STRIPE_WEBHOOK_SECRET="whsec_x")
    assert start.stdout.startswith("stripe [")
    assert "https://checkout.stripe.com" in start.stdout


def test_without_stripe_there_is_no_webhook(stripe, bob, settings):
    settings.PAYMENT_PROVIDERS = {}
    assert deliver({"id": "evt_1", "object": "event", "type": PAID, "data": {"object": {}}}) == 404
    assert not PaymentEvent.objects.exists()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"not json", 400),
        (b"\xff\xfe", 400),
        (b'{"object": "v2.core.event", "id": "evt_1"}', 400),
        (b"[]", 400),
        (b"{}", 400),
        (b'"' + b"x" * 600_000 + b'"', 413),
    ],
)
def test_a_body_that_is_no_event_is_refused_even_when_signed(stripe, db, client, body, status):
    assert post(client, body, sign(body)) == status
    assert not PaymentEvent.objects.exists()


def test_the_webhook_only_takes_posts(stripe, db, client):
    assert client.get(WEBHOOK).status_code == 405


# Paid, once


def test_a_paid_session_is_credited_once_and_its_event_is_kept_as_it_came(stripe, bob):
    topup = order(bob)
    event = stripe.pay(topup.checkout_reference)
    assert [deliver(event) for _again in range(3)] == [200] * 3
    assert balance(bob) == TOTAL
    stored = PaymentEvent.objects.get()
    assert (stored.event_id, stored.type, stored.payload, stored.error) == (event["id"], PAID, event, "")
    assert stored.processed_at is not None


def test_credited_twice_two_events_about_one_payment_credit_once(stripe, bob):
    topup = order(bob)
    assert deliver(stripe.pay(topup.checkout_reference)) == 200
    assert deliver(stripe.money_arrives(topup.checkout_reference)) == 200
    assert balance(bob) == TOTAL
    assert PaymentEvent.objects.count() == 2


def test_an_event_is_processed_once_even_where_the_order_would_allow_more(stripe, bob, monkeypatch):
    topup, calls = order(bob), []
    monkeypatch.setattr(stripe_events, "_apply", calls.append)
    event = stripe.pay(topup.checkout_reference)
    deliver(event)
    stored = PaymentEvent.objects.get()
    deliver(event)
    stripe_events._close(stored, calls[0])
    assert len(calls) == 1


def test_paid_but_never_credited_a_failure_is_noted_and_the_redelivery_credits(stripe, bob, monkeypatch, caplog):
    event = stripe.pay(order(bob).checkout_reference)
    with monkeypatch.context() as broken:
        broken.setattr(ledger, "grant", lambda **_: 1 / 0)
        assert [deliver(event), deliver(event)] == [500, 500]
    stored = PaymentEvent.objects.get()
    assert (stored.processed_at, stored.error) == (None, "ZeroDivisionError('division by zero')")
    assert len(alerts(caplog)) == 2
    assert balance(bob) == 0
    assert deliver(event) == 200
    stored.refresh_from_db()
    assert stored.error == ""
    assert stored.processed_at is not None
    assert balance(bob) == TOTAL


def test_an_event_of_a_type_nobody_asked_for_is_stored_and_accepted(stripe, bob):
    assert deliver(stripe.event("customer.created", {"id": "cus_1"})) == 200
    assert PaymentEvent.objects.get().processed_at is not None


FOREIGN = {
    "no order of ours": lambda session: session["metadata"].update(topup_id=str(uuid4())),
    "another amount": lambda session: session.update(amount_total=9_999),
    "another currency": lambda session: session.update(currency="jpy"),
    "nothing to pay": lambda session: session.update(payment_status="no_payment_required"),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_foreign_event_is_kept_shouted_about_and_never_credited(stripe, bob, caplog, what):
    topup = order(bob)
    event = stripe.pay(topup.checkout_reference)
    FOREIGN[what](event["data"]["object"])
    assert deliver(event) == 200
    stored = PaymentEvent.objects.get()
    assert stored.error.startswith("TopUpConflict")
    assert stored.processed_at is None
    assert [event["id"] in alert for alert in alerts(caplog)] == [True]
    assert (balance(bob), state_of(topup)) == (0, TopUpState.CREATED)


# What else is sold on the same account of Stripe's

ELSEWHERE: dict[str, tuple[str, dict[str, Any]]] = {
    "a sale": (PAID, {"metadata": {}}),
    "a sale without metadata": (PAID, {"metadata": None}),
    "a sale with other metadata": (PAID, {"metadata": {"topup_id": "17"}}),
    "a sale that looks like an attack": (PAID, {"metadata": {"topup_id": "'; --"}}),
    "a payment link with our order as its buyer's reference": (PAID, {"metadata": {}, "client_reference_id": "ours"}),
    "a subscription": (PAID, {"mode": "subscription", "payment_intent": None, "metadata": {}}),
    "a free trial": (PAID, {"mode": "subscription", "payment_status": "no_payment_required", "metadata": {}}),
    "a card that is kept": (PAID, {"mode": "setup", "setup_intent": "seti_x", "metadata": {"card_id": "12"}}),
    "a sale that waits": (PAID, {"payment_status": "unpaid", "metadata": {}}),
    "a sale that arrived late": ("checkout.session.async_payment_succeeded", {"metadata": {}}),
    "a sale that failed": ("checkout.session.async_payment_failed", {"metadata": {}}),
    "a sale that expired": ("checkout.session.expired", {"metadata": {}}),
    "a charge": ("payment_intent.succeeded", {"object": "payment_intent", "metadata": {"automatic": "1"}}),
    "a decline": ("payment_intent.payment_failed", {"object": "payment_intent", "metadata": {"automatic": "yes"}}),
    "a refund": ("charge.refunded", {"payment_intent": "theirs"}),
    "a refund of a payment with an id of its own": ("refund.created", {"payment_intent": "numbered"}),
    "a refund of a payment that Stripe does not know": ("refund.updated", {"payment_intent": "pi_gone"}),
    "a refund of an old charge": ("charge.refunded", {"payment_intent": None}),
    "a refund without a payment": ("refund.failed", {"object": "refund"}),
    "a dispute": ("charge.dispute.created", {"payment_intent": "theirs"}),
    "a dispute of an old charge": ("charge.dispute.closed", {"payment_intent": None}),
}


@pytest.mark.parametrize("what", ELSEWHERE)
def test_what_else_is_sold_on_the_account_is_closed_without_an_alarm(stripe, bob, caplog, what):
    topup = order(bob)
    of_others = {
        name: stripe._add("payment_intents", "pi", object="payment_intent", metadata=metadata)["id"]
        for name, metadata in (("theirs", {}), ("numbered", {"topup_id": "17"}))
    }
    kind, fields = ELSEWHERE[what]
    named = {"payment_intent": of_others.get(fields.get("payment_intent"), fields.get("payment_intent"))}
    if fields.get("client_reference_id"):
        named["client_reference_id"] = str(topup.pk)
    session = stripe.objects["checkout/sessions"][topup.checkout_reference]
    about = {**session, "payment_status": "paid", **fields, **named} if "session" in kind else {**fields, **named}
    event = stripe.event(kind, {"id": "their_own", "status": "succeeded", **about})
    assert [deliver(event), deliver(event)] == [200, 200]
    stored = PaymentEvent.objects.get()
    assert stored.error == ""
    assert stored.processed_at is not None
    assert [record.getMessage() for record in caplog.records if record.levelno > logging.INFO] == []
    assert (balance(bob), state_of(topup)) == (0, TopUpState.CREATED)


# Where it is sent


def as_in_production(settings, monkeypatch):
    """What production says about https."""
    found = read_production(monkeypatch, ALLOWED_HOSTS="testserver", PUBLIC_URL="https://testserver")
    for name, value in found.items():
        if name.startswith("SECURE_"):
            setattr(settings, name, value)
    assert settings.SECURE_SSL_REDIRECT is True


@pytest.mark.parametrize("scheme", ["https", "http"])
@pytest.mark.parametrize("address", [WEBHOOK, WEBHOOK.removesuffix("/")])
def test_a_webhook_is_taken_where_it_is_sent(stripe, bob, settings, monkeypatch, client, address, scheme):
    as_in_production(settings, monkeypatch)
    body = json.dumps(stripe.pay(order(bob).checkout_reference)).encode()
    headers = {"Stripe-Signature": sign(body), "X-Forwarded-Proto": scheme}
    assert client.post(address, body, content_type="application/json", headers=headers).status_code == 200
    assert balance(bob) == TOTAL
    forged = {"Stripe-Signature": "t=1,v1=x", "X-Forwarded-Proto": scheme}
    assert client.post(address, body, content_type="application/json", headers=forged).status_code == 400


@pytest.mark.parametrize(
    "address",
    ["/credits/", "/accounts/login/", "/credits/webhooks/stripe/x", "/x/credits/webhooks/stripe/", "/v1/models"],
)
def test_nothing_else_is_served_without_https(settings, monkeypatch, client, address, db):
    as_in_production(settings, monkeypatch)
    answer = client.get(address, headers={"X-Forwarded-Proto": "http"})
    assert (answer.status_code, answer["Location"]) == (301, f"https://testserver{address}")


@pytest.mark.parametrize("act", ["pay", "pay_later", "money_never_arrives", "expire"])
def test_one_provider_completing_anothers_order_is_refused(stripe, bob, caplog, act):
    topup = order(bob)
    TopUp.objects.filter(pk=topup.pk).update(provider="sandbox", state=TopUpState.PENDING)
    assert deliver(getattr(stripe, act)(topup.checkout_reference)) == 200
    assert len(alerts(caplog)) == 1
    assert (balance(bob), state_of(topup)) == (0, TopUpState.PENDING)


def test_an_order_paid_twice_is_credited_once_and_shouted_about(stripe, bob, caplog):
    topup = buy(stripe, bob)
    session = stripe.objects["checkout/sessions"][topup.checkout_reference]
    twin = stripe._add("checkout/sessions", "cs_test", **{**session, "id": "cs_twin"})
    assert deliver(stripe.pay(twin["id"])) == 200
    assert "was paid twice" in PaymentEvent.objects.latest("pk").error
    assert len(alerts(caplog)) == 1
    assert balance(bob) == TOTAL
    assert deliver(stripe.refund(twin["payment_intent"], 10_000)) == 200  # a person gave the second one back
    assert balance(bob) == TOTAL
