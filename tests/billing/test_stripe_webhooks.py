"""Stripe: who may say that something was paid, and what comes of it in every order of delivery."""

import json
import logging
import os
import runpy
import subprocess
import sys
import time
from itertools import permutations
from uuid import uuid4

import pytest
import stripe as stripe_library
from django.conf import settings as django_settings

from billing import ledger
from billing.models import LedgerEntry, PaymentEvent, TopUp, TopUpState
from billing.stripe import events as stripe_events
from billing.stripe.provider import MOST_RETRIES
from tests.billing.stripe_orders import PAID, TOTAL, alerts, balance, buy, dispute_id, order, owed, state_of
from tests.billing.test_grants import spend
from tests.cast import at_once
from tests.stripe_server import WEBHOOK, deliver, post, sign

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

ELSEWHERE = {
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
    monkeypatch.setenv("ALLOWED_HOSTS", "testserver")
    monkeypatch.setenv("PUBLIC_URL", "https://testserver")
    monkeypatch.setenv("TRUSTED_PROXIES", "")
    monkeypatch.setenv("EMAIL_URL", "consolemail://")
    found = runpy.run_path(str(django_settings.BASE_DIR / "config" / "settings" / "production.py"))
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


# Money that takes days, and sessions that end without


def test_money_that_takes_days_is_pending_then_credited(stripe, bob):
    topup = order(bob)
    assert deliver(stripe.pay_later(topup.checkout_reference)) == 200
    assert (balance(bob), state_of(topup)) == (0, TopUpState.PENDING)
    assert deliver(stripe.money_arrives(topup.checkout_reference)) == 200
    assert (balance(bob), state_of(topup)) == (TOTAL, TopUpState.PAID)


def test_money_that_never_arrives_fails_the_order_in_either_order_of_events(stripe, bob):
    for reverse in (False, True):
        topup = order(bob)
        events = [stripe.pay_later(topup.checkout_reference), stripe.money_never_arrives(topup.checkout_reference)]
        assert [deliver(event) for event in (reversed(events) if reverse else events)] == [200, 200]
        assert (balance(bob), state_of(topup)) == (0, TopUpState.FAILED)


def test_a_session_that_expires_cancels_its_order(stripe, bob):
    topup = order(bob)
    assert deliver(stripe.expire(topup.checkout_reference)) == 200
    assert (balance(bob), state_of(topup)) == (0, TopUpState.CANCELLED)


@pytest.mark.parametrize("ending", ["money_never_arrives", "expire"])
def test_a_payment_that_comes_after_its_failure_is_credited(stripe, bob, ending):
    topup = order(bob)
    assert deliver(getattr(stripe, ending)(topup.checkout_reference)) == 200
    assert deliver(stripe.pay(topup.checkout_reference)) == 200
    assert (balance(bob), state_of(topup)) == (TOTAL, TopUpState.PAID)


def test_settled_then_failed_then_credited_again_is_credited_once(stripe, bob):
    topup = buy(stripe, bob)
    session = stripe.objects["checkout/sessions"][topup.checkout_reference]
    late = [
        stripe.money_never_arrives(topup.checkout_reference),
        stripe.expire(topup.checkout_reference),
        stripe.event(PAID, {**session, "payment_status": "unpaid"}),
        stripe.money_arrives(topup.checkout_reference),
    ]
    assert [deliver(event) for event in late] == [200] * 4
    assert (balance(bob), state_of(topup)) == (TOTAL, TopUpState.PAID)


# Disputes


def test_chargeback_keeps_the_credits_a_dispute_takes_them_and_a_lost_one_keeps_them_taken(stripe, bob):
    topup = buy(stripe, bob)
    opened = stripe.open_dispute(topup.payment_reference, 10_000)
    assert deliver(opened) == 200
    assert balance(bob) == 0
    assert deliver(stripe.dispute_moves(dispute_id(opened), "lost")) == 200
    assert balance(bob) == 0


def test_a_won_dispute_gives_the_credits_back_once(stripe, bob):
    topup = buy(stripe, bob)
    opened = stripe.open_dispute(topup.payment_reference, 10_000)
    events = [
        opened,
        stripe.event("charge.dispute.funds_withdrawn", opened["data"]["object"]),
        stripe.dispute_moves(dispute_id(opened), "under_review", "updated"),
    ]
    assert [deliver(event) for event in events] == [200] * 3
    assert balance(bob) == 0
    events += [
        stripe.dispute_moves(dispute_id(opened), "won"),
        stripe.dispute_moves(dispute_id(opened), "won", "funds_reinstated"),
    ]
    assert [deliver(event) for event in events] == [200] * 5
    assert balance(bob) == TOTAL


def test_a_dispute_won_before_its_opening_was_heard_of_takes_nothing(stripe, bob):
    topup = buy(stripe, bob)
    opened = stripe.open_dispute(topup.payment_reference, 10_000)
    won = stripe.dispute_moves(dispute_id(opened), "won")
    assert [deliver(won), deliver(opened)] == [200, 200]
    assert balance(bob) == TOTAL


def test_clawed_back_more_than_was_charged_after_a_won_dispute_only_the_refund_stays_taken(stripe, bob):
    topup = buy(stripe, bob)
    spend(bob, 100)  # 4,020
    assert deliver(stripe.refund(topup.payment_reference, 5_000)) == 200
    opened = stripe.open_dispute(topup.payment_reference, 10_000)
    assert deliver(opened) == 200
    assert (balance(bob), owed(bob)) == (0, 4_020)
    assert deliver(stripe.dispute_moves(dispute_id(opened), "won")) == 200
    assert (balance(bob), owed(bob)) == (TOTAL // 2 - 4_020, 0)
    assert TopUp.objects.get(pk=topup.pk).clawed_back_microcredits == TOTAL // 2


def test_two_disputes_of_one_payment_add_up(stripe, bob):
    topup = buy(stripe, bob)
    first, second = (stripe.open_dispute(topup.payment_reference, amount) for amount in (2_500, 5_000))
    assert [deliver(first), deliver(second)] == [200, 200]
    assert balance(bob) == TOTAL // 4
    assert deliver(stripe.dispute_moves(dispute_id(second), "won")) == 200
    assert balance(bob) == TOTAL * 3 // 4


def test_an_inquiry_takes_nothing_until_it_becomes_a_dispute(stripe, bob):
    topup = buy(stripe, bob)
    opened = stripe.open_dispute(topup.payment_reference, 10_000, status="warning_needs_response")
    assert deliver(opened) == 200
    assert balance(bob) == TOTAL
    assert deliver(stripe.dispute_moves(dispute_id(opened), "needs_response", "funds_withdrawn")) == 200
    assert balance(bob) == 0


def test_a_dispute_in_another_currency_disputes_all_of_the_payment(stripe, bob):
    topup = buy(stripe, bob)
    assert deliver(stripe.open_dispute(topup.payment_reference, 9_000, currency="eur")) == 200
    assert balance(bob) == 0


def test_a_dispute_before_the_completion_is_sent_again_by_stripe(stripe, bob):
    topup = order(bob)
    completed = stripe.pay(topup.checkout_reference)
    opened = stripe.open_dispute(completed["data"]["object"]["payment_intent"], 10_000)
    assert [deliver(opened), deliver(completed), deliver(opened)] == [409, 200, 200]
    assert balance(bob) == 0


def test_a_dispute_is_sent_again_when_stripe_cannot_be_asked(stripe, bob):
    topup = buy(stripe, bob)
    opened = stripe.open_dispute(topup.payment_reference, 10_000)
    stripe.failures = [500] * (MOST_RETRIES + 1)
    assert deliver(opened) == 500
    assert balance(bob) == TOTAL
    assert deliver(opened) == 200
    assert balance(bob) == 0


@pytest.mark.django_db(transaction=True)
def test_what_was_read_of_a_dispute_before_another_delivery_wrote_does_not_stay(stripe, bob):
    topup = buy(stripe, bob)
    opened = stripe.open_dispute(topup.payment_reference, 10_000)
    statuses = []

    def win_and_deliver():
        won = stripe.dispute_moves(dispute_id(opened), "won")
        statuses.extend(at_once(1, lambda _n: deliver(won)))

    stripe.after_reading["disputes"] = [win_and_deliver]  # the first delivery has read the open dispute, not written it
    assert [deliver(opened), *statuses] == [200, 200]
    assert balance(bob) == TOTAL


# Everything in any order


def test_every_order_of_delivery_ends_the_same(stripe, bob):
    ends = set()
    for places in permutations(range(4)):
        topup = order(bob)
        before = balance(bob)
        completed = stripe.pay(topup.checkout_reference)
        payment = completed["data"]["object"]["payment_intent"]
        opened = stripe.open_dispute(payment, 10_000)
        won = stripe.dispute_moves(dispute_id(opened), "won")
        happened = [completed, opened, won, stripe.refund(payment, 2_500)]
        waiting = [happened[place] for place in places]
        for _round in range(3):  # Stripe sends again what was not taken, and now and then what was
            waiting = [event for event in waiting if deliver(event) != 200]
        assert waiting == []
        assert {deliver(event) for event in happened} == {200}
        topup.refresh_from_db()
        ends.add((balance(bob) - before, topup.state, topup.refunded_minor, topup.disputed_minor))
    assert ends == {(TOTAL * 3 // 4, TopUpState.PAID, 2_500, 0)}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("what", ["paid", "refunded", "disputed", "won"])
def test_a_delivery_sent_at_the_same_moment_by_real_threads_takes_effect_once(stripe, bob, what):
    topup = order(bob)
    events = {"paid": stripe.pay(topup.checkout_reference)}
    payment = events["paid"]["data"]["object"]["payment_intent"]
    if what != "paid":
        assert deliver(events["paid"]) == 200
    if what == "refunded":
        events["refunded"] = stripe.refund(payment, 2_500)
    if what in {"disputed", "won"}:
        events["disputed"] = stripe.open_dispute(payment, 10_000)
    if what == "won":
        assert deliver(events["disputed"]) == 200
        events["won"] = stripe.dispute_moves(dispute_id(events["disputed"]), "won")
    before = LedgerEntry.objects.count()
    assert at_once(4, lambda _n: deliver(events[what])) == [200] * 4
    assert balance(bob) == {"paid": TOTAL, "refunded": TOTAL * 3 // 4, "disputed": 0, "won": TOTAL}[what]
    assert LedgerEntry.objects.count() - before == (2 if what == "paid" else 1)
    assert PaymentEvent.objects.filter(event_id=events[what]["id"]).count() == 1


@pytest.mark.django_db(transaction=True)
def test_two_deliveries_of_one_event_wait_for_each_other(stripe, bob, monkeypatch):
    event, calls = stripe.pay(order(bob).checkout_reference), []
    monkeypatch.setattr(stripe_events, "_apply", lambda change: (calls.append(change), time.sleep(0.2)))
    assert at_once(3, lambda _n: deliver(event)) == [200] * 3
    assert len(calls) == 1


@pytest.mark.django_db(transaction=True)
def test_different_events_of_one_payment_at_the_same_moment_end_right(stripe, bob):
    topup = buy(stripe, bob)
    opened = stripe.open_dispute(topup.payment_reference, 10_000)
    won = stripe.dispute_moves(dispute_id(opened), "won")
    events = [
        opened,
        won,
        stripe.refund(topup.payment_reference, 2_500),
        stripe.money_arrives(topup.checkout_reference),
    ]
    assert at_once(8, lambda n: deliver(events[n % 4])) == [200] * 8
    assert balance(bob) == TOTAL * 3 // 4


@pytest.mark.django_db(transaction=True)
def test_a_refund_and_a_dispute_of_one_payment_at_the_same_moment_both_count(stripe, bob, monkeypatch):
    topup = buy(stripe, bob)
    events = [stripe.refund(topup.payment_reference, 2_500), stripe.open_dispute(topup.payment_reference, 5_000)]
    claw_back = ledger.claw_back
    monkeypatch.setattr(ledger, "claw_back", lambda **what: (time.sleep(0.2), claw_back(**what))[1])
    assert at_once(2, lambda n: deliver(events[n])) == [200, 200]
    assert balance(bob) == TOTAL // 4


@pytest.mark.django_db(transaction=True)
def test_an_order_sent_twice_at_once_opens_one_checkout(stripe, bob):
    first, second = at_once(2, lambda _n: order(bob, key="k"))
    assert first.checkout_reference == second.checkout_reference
    assert len(stripe.objects["checkout/sessions"]) == 1


@pytest.mark.django_db(transaction=True)
def test_the_event_is_stored_before_it_is_processed(stripe, bob, monkeypatch):
    seen = []

    def look_from_another_connection(_stored):
        seen.extend(at_once(1, lambda _n: PaymentEvent.objects.count()))
        raise RuntimeError

    monkeypatch.setattr(stripe_events, "_process", look_from_another_connection)
    assert deliver(stripe.pay(order(bob).checkout_reference)) == 500
    assert seen == [1]
