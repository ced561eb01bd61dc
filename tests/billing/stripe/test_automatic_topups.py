"""Automatic top-ups with Stripe: cards that it keeps, charges with nobody there, answers and events that are lost."""

import logging
from datetime import timedelta

import pytest
from django.core import mail
from django.db import connection
from django.utils import timezone

from billing import tasks
from billing.models import PaymentEvent, SavedCard, TopUp, TopUpState
from billing.stripe import reconciliation
from billing.topups import automatic, cards, orders
from billing.topups.payments import PaymentError, provider_named
from tests.billing.stripe.signing import deliver
from tests.billing.topups.automatic import (
    BELOW,
    CHARGE,
    answer,
    automatic_of,
    balance,
    save_stripe_card,
    spend_down,
    states,
    subjects,
    turn_on,
)
from tests.support.cast import CREDIT, at_once, fund
from tests.support.databases.queue import clear_queue, run_tasks

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("ledger_alone")]


@pytest.fixture(autouse=True)
def _sound(bob, faults):
    """Start with an empty queue; after every test the ledger proves itself."""
    clear_queue()
    yield
    assert faults() == []


def stripe_low(server, user, behaviour="approve", **options):
    save_stripe_card(server, user, behaviour)
    fund(user, BELOW)
    turn_on(user, **options)
    answer(user)


def payments(server):
    return [path for method, path, _sent in server.requests if (method, path) == ("POST", "/v1/payment_intents")]


def test_stripe_keeps_the_card_on_its_own_page(stripe, bob, settings):
    settings.PUBLIC_URL = "https://tally.example"
    url = cards.start_card_setup(user=bob)
    card = SavedCard.objects.get()
    assert url == f"https://checkout.stripe.com/c/setup/{card.setup_reference}"
    (_, _, customer), (_, _, session) = stripe.requests
    assert customer == {"email": "bob@example.com", "metadata[card_id]": str(card.pk)}
    assert session == {
        "mode": "setup",
        "customer": card.customer_reference,
        "allowed_payment_method_types[0]": "card",
        "metadata[card_id]": str(card.pk),
        "success_url": "https://tally.example/credits/spending/?card=1",
        "cancel_url": "https://tally.example/credits/spending/",
    }
    assert deliver(stripe.enter_card(card.setup_reference)) == 200
    card.refresh_from_db()
    assert (card.brand, card.last4, card.is_usable) == ("visa", "4242", True)


def test_a_setup_that_is_asked_for_again_keeps_its_customer(stripe, bob):
    cards.start_card_setup(user=bob)
    cards.start_card_setup(user=bob)
    assert len(stripe.objects["customers"]) == 1


def test_a_report_of_a_card_that_was_lost_is_asked_for(stripe, bob):
    assert not cards.refresh_card(user=bob)
    cards.start_card_setup(user=bob)
    assert not cards.refresh_card(user=bob)
    stripe.enter_card(SavedCard.objects.get().setup_reference)  # and its webhook is lost
    assert cards.refresh_card(user=bob)
    assert cards.refresh_card(user=bob)
    assert SavedCard.objects.get().last4 == "4242"


def test_a_setup_of_somebody_elses_software_and_one_that_expires_change_nothing(stripe, bob, caplog):
    cards.start_card_setup(user=bob)
    event = stripe.enter_card(SavedCard.objects.get().setup_reference)
    event["data"]["object"]["metadata"] = {}
    expired = stripe.event("checkout.session.expired", event["data"]["object"])
    assert [deliver(event), deliver(expired)] == [200, 200]
    assert not SavedCard.objects.get().is_usable
    assert PaymentEvent.objects.filter(processed_at=None).count() == 0
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_a_removed_card_is_detached_at_stripe_and_once_more_does_no_harm(stripe, bob):
    save_stripe_card(stripe, bob)
    card = SavedCard.objects.get()
    cards.remove_card(user=bob)
    assert stripe.objects["payment_methods"] == {}
    provider_named("stripe").forget_card(card)


def test_a_card_that_stripe_cannot_be_told_to_forget_is_at_least_not_charged_any_more(stripe, bob):
    stripe_low(stripe, bob)
    stripe.failures = [500] * 3
    with pytest.raises(PaymentError):
        cards.remove_card(user=bob)
    run_tasks()
    assert (payments(stripe), automatic_of(bob).is_on) == ([], False)
    cards.remove_card(user=bob)
    assert SavedCard.objects.count() == 0


def test_stripe_charges_the_card_with_nobody_there(stripe, bob):
    stripe_low(stripe, bob)
    run_tasks()
    topup, card = TopUp.objects.get(), SavedCard.objects.get()
    (sent,) = [sent for method, path, sent in stripe.requests if (method, path) == ("POST", "/v1/payment_intents")]
    assert sent == {
        "amount": "2000",
        "currency": "usd",
        "customer": card.customer_reference,
        "payment_method": card.method_reference,
        "allowed_payment_method_types[0]": "card",
        "confirm": "true",
        "off_session": "true",
        "description": "Tally credits",
        "metadata[topup_id]": str(topup.pk),
        "metadata[automatic]": "yes",
    }
    assert topup.payment_reference in stripe.objects["payment_intents"]
    assert balance(bob) == BELOW - CHARGE + 2_000 * CREDIT


def test_the_answer_and_the_webhook_credit_once_in_either_order(stripe, bob):
    stripe_low(stripe, bob)
    run_tasks()
    topup = TopUp.objects.get()
    assert deliver(stripe.payment_event(topup.payment_reference)) == 200
    assert deliver(stripe.payment_event(topup.payment_reference)) == 200
    assert balance(bob) == BELOW - CHARGE + 2_000 * CREDIT


def test_an_answer_that_was_lost_is_told_by_the_webhook(stripe, bob):
    stripe_low(stripe, bob)
    stripe.lost_answers = 3
    run_tasks()
    assert states() == [TopUpState.CREATED]
    (payment,) = stripe.objects["payment_intents"]
    assert deliver(stripe.payment_event(payment)) == 200
    assert (states(), balance(bob)) == ([TopUpState.PAID], BELOW - CHARGE + 2_000 * CREDIT)


@pytest.mark.parametrize("is_day_later", [False, True])
def test_an_answer_that_was_lost_is_asked_for_again_and_the_card_charged_once(stripe, bob, is_day_later):
    stripe_low(stripe, bob)
    stripe.lost_answers = 3
    run_tasks()
    tasks.sweep_spending()  # too early to ask again
    assert states() == [TopUpState.CREATED]
    TopUp.objects.update(created_at=timezone.now() - timedelta(minutes=3))
    SavedCard.objects.update(saved_at=timezone.now() - timedelta(hours=1))
    if is_day_later:
        stripe.forget_keys()
    tasks.sweep_spending()
    assert states() == [TopUpState.PAID]
    assert len(stripe.objects["charges"]) == 1
    assert balance(bob) == BELOW - CHARGE + 2_000 * CREDIT


def test_a_stripe_that_is_away_leaves_the_order_open_and_in_the_end_it_is_given_up(stripe, bob):
    stripe_low(stripe, bob)
    stripe.failures = [500] * 3
    run_tasks()
    tasks.sweep_spending()
    assert states() == [TopUpState.CREATED]  # and no second order
    TopUp.objects.update(created_at=timezone.now() - timedelta(hours=23, minutes=1))
    SavedCard.objects.update(saved_at=timezone.now() - timedelta(days=2))
    stripe.failures = [500] * 3
    tasks.sweep_spending()
    assert states() == [TopUpState.FAILED]
    assert automatic_of(bob).declines_count == 1


@pytest.mark.parametrize("code", ["card_declined", "expired_card", "authentication_required"])
@pytest.mark.parametrize("is_webhook_first", [False, True])
def test_a_decline_told_twice_counts_once(stripe, bob, code, is_webhook_first):
    stripe_low(stripe, bob, code)
    if is_webhook_first:
        stripe.lost_answers = 3
    run_tasks()
    (payment,) = stripe.objects["payment_intents"]
    assert deliver(stripe.payment_event(payment)) == 200
    TopUp.objects.update(created_at=timezone.now() - timedelta(minutes=3))
    tasks.sweep_spending()
    run_tasks()
    assert (states(), automatic_of(bob).declines_count, len(mail.outbox)) == ([TopUpState.FAILED], 1, 1)
    assert ("bank wants to ask" in subjects()[0]) == (code == "authentication_required")
    assert balance(bob) == BELOW - CHARGE


def test_a_payment_that_takes_its_time_is_pending_and_then_credited(stripe, bob):
    stripe_low(stripe, bob, "processing")
    run_tasks()
    assert states() == [TopUpState.PENDING]
    answer(bob)
    tasks.sweep_spending()
    assert states() == [TopUpState.PENDING]  # no second order meanwhile
    (payment,) = stripe.objects["payment_intents"]
    assert deliver(stripe.settle_payment(payment)) == 200
    assert (states(), balance(bob)) == ([TopUpState.PAID], BELOW - 2 * CHARGE + 2_000 * CREDIT)


def test_a_success_that_is_told_after_the_order_was_given_up_is_credited(stripe, bob):
    stripe_low(stripe, bob)
    stripe.lost_answers = 3
    run_tasks()
    topup = TopUp.objects.get()
    automatic.note_decline(topup_id=topup.pk, provider="stripe", code="unreachable")
    (payment,) = stripe.objects["payment_intents"]
    assert deliver(stripe.payment_event(payment)) == 200
    assert (states(), automatic_of(bob).declines_count) == ([TopUpState.PAID], 0)


def test_eight_deliveries_and_the_answer_at_once_credit_once(stripe, bob):
    stripe_low(stripe, bob)
    stripe.lost_answers = 3
    run_tasks()
    topup = TopUp.objects.get()
    (payment,) = stripe.objects["payment_intents"]
    event = stripe.payment_event(payment)
    at_once(8, lambda n: deliver(event) if n % 2 else automatic.charge(topup_id=topup.pk))
    assert (states(), balance(bob)) == ([TopUpState.PAID], BELOW - CHARGE + 2_000 * CREDIT)


def test_payments_of_checkouts_and_of_other_software_are_left_to_their_own_events(stripe, bob, caplog):
    topup = orders.start_topup(user=bob, offer=orders.offer_of_amount(500), idempotency_key="k")
    stripe.pay(topup.checkout_reference)
    (payment,) = stripe.objects["payment_intents"]
    assert deliver(stripe.payment_event(payment)) == 200
    stripe.objects["payment_intents"][payment]["metadata"] = {}
    assert deliver(stripe.payment_event(payment)) == 200
    assert states() == [TopUpState.CREATED]
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_a_decline_of_an_order_that_is_not_automatic_is_foreign(stripe, bob, caplog):
    stripe_low(stripe, bob, "card_declined")
    run_tasks()
    other = orders.start_topup(user=bob, offer=orders.offer_of_amount(500), idempotency_key="k")
    (payment,) = stripe.objects["payment_intents"].values()
    payment["metadata"]["topup_id"] = str(other.pk)
    assert deliver(stripe.payment_event(payment["id"])) == 200
    assert "is not automatic" in PaymentEvent.objects.get(processed_at=None).error
    assert TopUp.objects.get(pk=other.pk).state == TopUpState.CREATED


def test_a_refund_and_a_dispute_of_an_automatic_order_take_its_credits_back(stripe, bob):
    stripe_low(stripe, bob)
    run_tasks()
    topup = TopUp.objects.get()
    assert deliver(stripe.refund(topup.payment_reference, 500)) == 200
    assert deliver(stripe.open_dispute(topup.payment_reference, 500)) == 200
    assert balance(bob) == BELOW - CHARGE + 1_000 * CREDIT


def test_reconciliation_of_automatic_orders_agrees_and_finds_what_was_never_heard_of(stripe, bob):
    stripe_low(stripe, bob)
    run_tasks()
    assert reconciliation.reconcile() == []
    spend_down(bob)
    assert reconciliation.reconcile() == []
    stripe.lost_answers = 3
    spend_down(bob)
    (finding,) = reconciliation.reconcile()
    lost = TopUp.objects.get(state=TopUpState.CREATED)
    assert (finding.problem, finding.topup_id) == ("paid but not credited", str(lost.pk))
    paid = TopUp.objects.filter(state=TopUpState.PAID).first()
    del stripe.objects["payment_intents"][paid.payment_reference]
    assert {finding.problem for finding in reconciliation.reconcile()} == {
        "paid but not credited",
        "credited but not paid",
    }


def test_no_call_to_the_provider_is_made_inside_a_transaction(stripe, bob, monkeypatch):
    inside = []
    charge_card = provider_named("stripe").__class__.charge_card

    def looking(self, topup, card):
        inside.append(connection.in_atomic_block)
        return charge_card(self, topup, card)

    monkeypatch.setattr("billing.stripe.provider.StripeProvider.charge_card", looking)
    stripe_low(stripe, bob)
    run_tasks()
    assert inside == [False]
