"""Automatic top-ups with the sandbox: consent, one order at a time, the ceiling, declines, cards."""

import time
from datetime import timedelta
from uuid import uuid4

import pytest
from django.core import mail
from django.db import Error, transaction
from django.urls import reverse
from django.utils import timezone

from billing import ledger, tasks
from billing.models import AutomaticTopUp, Package, SavedCard, TopUp, TopUpState
from billing.topups import automatic as automatic_topups
from billing.topups import cards, orders, sandbox
from billing.topups.packages import seed_packages
from billing.topups.payments import PaymentError
from tests.billing.topups.automatic import (
    BELOW,
    CHARGE,
    answer,
    automatic_of,
    balance,
    low,
    pass_time,
    save_sandbox_card,
    spend_down,
    states,
    subjects,
    turn_on,
)
from tests.support.cast import CREDIT, at_once, fund
from tests.support.databases.queue import clear_queue, run_tasks, take_tasks

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("ledger_alone")]


@pytest.fixture(autouse=True)
def _sound(bob, faults):
    """Start with an empty queue; after every test the ledger proves itself."""
    clear_queue()
    yield
    assert faults() == []


# Consent


def test_nothing_is_bought_for_somebody_who_has_not_consented(bob):
    save_sandbox_card(bob)
    fund(bob, BELOW)
    answer(bob)
    tasks.sweep_spending()
    run_tasks()
    assert TopUp.objects.count() == 0


def test_without_a_card_it_cannot_be_turned_on(bob):
    with pytest.raises(automatic_topups.ConsentRefused, match="Save a card first"):
        turn_on(bob)
    cards.start_card_setup(user=bob)  # begun, but no card entered
    with pytest.raises(automatic_topups.ConsentRefused, match="Save a card first"):
        turn_on(bob)


@pytest.mark.parametrize("figures", [{"ceiling_minor": 1_999}, {"below": 0}, {"below": -1}])
def test_figures_that_do_not_fit_are_refused(bob, figures):
    save_sandbox_card(bob)
    with pytest.raises(automatic_topups.ConsentRefused):
        turn_on(bob, **figures)
    assert AutomaticTopUp.objects.count() == 0


def test_the_consent_is_kept_in_words_with_its_date(bob):
    save_sandbox_card(bob)
    automatic = turn_on(bob)
    assert "charges $20 to Visa •••• 4242 and adds 2,000.00 credits" in automatic.consent_text
    assert "at most $60 in a calendar month" in automatic.consent_text
    assert timezone.now() - automatic.consented_at < timedelta(minutes=1)


def test_turned_off_nothing_is_bought_not_even_what_was_ordered_a_moment_ago(bob):
    low(bob)
    order = automatic_topups._order_if_due(bob.wallet.pk, 0)
    automatic_topups.turn_off(user=bob)
    automatic_topups.charge(topup_id=order.pk)
    tasks.sweep_spending()
    run_tasks()
    assert states() == [TopUpState.CANCELLED]
    assert balance(bob) == BELOW - CHARGE


# Buying


def test_a_balance_that_falls_below_is_topped_up_and_the_customer_told(bob):
    low(bob)
    assert run_tasks() == ["billing.review_spending", "accounts.deliver_mail"]
    topup = TopUp.objects.get()
    assert (topup.state, topup.amount_minor, topup.automatic_month_minor) == (TopUpState.PAID, 2_000, 2_000)
    assert balance(bob) == BELOW - CHARGE + 2_000 * CREDIT
    assert subjects() == ["Automatic top-up: 2,000.00 credits for $20"]


def test_a_package_is_bought_with_its_bonus(bob):
    seed_packages()
    low(bob, package=Package.objects.get(bonus_microcredits=100 * CREDIT))
    run_tasks()
    assert balance(bob) == BELOW - CHARGE + 2_100 * CREDIT


def test_turned_on_below_the_threshold_it_buys_at_once(bob):
    save_sandbox_card(bob)
    turn_on(bob)
    run_tasks()
    assert balance(bob) == 2_000 * CREDIT


def test_it_buys_again_each_time_the_balance_falls(bob):
    low(bob)
    run_tasks()
    spend_down(bob)
    run_tasks()
    assert states() == [TopUpState.PAID] * 2


def test_a_refused_answer_is_bought_for_when_one_top_up_reaches(bob):
    save_sandbox_card(bob)
    fund(bob, BELOW + CREDIT)
    turn_on(bob)
    wallet_id = bob.wallet.pk
    tasks.review_spending(wallet_id=wallet_id, needed_microcredits=BELOW + 2_002 * CREDIT)  # out of reach
    tasks.review_spending(wallet_id=wallet_id, needed_microcredits=BELOW + CREDIT)  # not short of anything
    assert states() == []
    tasks.review_spending(wallet_id=wallet_id, needed_microcredits=BELOW + 20 * CREDIT)
    tasks.review_spending(wallet_id=wallet_id, needed_microcredits=BELOW + 20 * CREDIT)
    assert states() == [TopUpState.PAID]


def test_a_message_that_is_refused_for_want_of_credits_calls_for_them(client, bob):
    client.force_login(bob)
    message = {"text": "Hello", "model": "gemma-3-270m", "idempotency_key": uuid4()}
    assert client.post(reverse("chat:send_new"), message).status_code == 402
    assert take_tasks() == []
    save_sandbox_card(bob)
    turn_on(bob)
    clear_queue()
    assert client.post(reverse("chat:send_new"), message).status_code == 402
    ((name, arguments),) = take_tasks()
    assert (name, arguments["wallet_id"]) == ("billing.review_spending", bob.wallet.pk)
    assert arguments["needed_microcredits"] > 0


@pytest.mark.parametrize("why", ["owes", "inactive", "no card"])
def test_nothing_is_bought_for_somebody_who_owes_may_not_log_in_or_has_no_card(bob, why):
    low(bob)
    if why == "owes":
        topup = orders.start_topup(user=bob, offer=orders.offer_of_amount(10_000), idempotency_key="k")
        sandbox.play(topup=topup, action="pay")
        spent = balance(bob)
        ledger.adjust(user=bob, amount_microcredits=-spent, idempotency_key="a", reason="test", by=bob)
        sandbox.play(topup=topup, action="dispute")
    elif why == "inactive":
        type(bob).objects.filter(pk=bob.pk).update(is_active=False)
    else:
        SavedCard.objects.all().delete()
    tasks.sweep_spending()
    run_tasks()
    assert not TopUp.objects.automatic().exists()


def test_a_price_that_changed_after_the_consent_turns_it_off(bob):
    seed_packages()
    package = Package.objects.get(price_minor=2_000)
    low(bob, package=package)
    Package.objects.filter(pk=package.pk).update(price_minor=2_500)
    run_tasks()
    assert states() == []
    assert not automatic_of(bob).is_on
    assert subjects() == ["Automatic top-up is turned off: the price has changed"]


def test_a_withdrawn_package_turns_it_off(bob):
    seed_packages()
    low(bob, package=Package.objects.get(price_minor=2_000))
    Package.objects.update(is_active=False)
    run_tasks()
    assert (states(), automatic_of(bob).is_on) == ([], False)


def test_one_customers_trouble_does_not_keep_the_sweep_from_the_next(bob, charlie, monkeypatch):
    spend_down(charlie)
    low(bob)
    save_sandbox_card(charlie)
    turn_on(charlie)
    take_tasks()
    SavedCard.objects.filter(wallet__user=bob).update(method_reference="no such card")
    order_if_due = automatic_topups._order_if_due

    def troubled(wallet_id, needed_microcredits):
        if wallet_id == bob.wallet.pk:
            raise RuntimeError
        return order_if_due(wallet_id, needed_microcredits)

    monkeypatch.setattr(automatic_topups, "_order_if_due", troubled)
    tasks.sweep_spending()
    assert balance(charlie) == 2_000 * CREDIT
    monkeypatch.undo()
    tasks.sweep_spending()  # a card that the provider does not know: the order stays open, and says so in the log
    assert states() == [TopUpState.PAID, TopUpState.CREATED]


# The ceiling


def test_the_ceiling_of_the_month_is_never_exceeded_and_next_month_it_goes_on(bob):
    low(bob, ceiling_minor=4_999)
    run_tasks()
    for _again in range(3):
        spend_down(bob)
        run_tasks()
    assert states() == [TopUpState.PAID] * 2
    assert subjects().count("Automatic top-up has reached your ceiling of this month") == 1
    start = automatic_of(bob).next_attempt_at
    assert (start.day, start.hour, start > timezone.now()) == (1, 0, True)
    TopUp.objects.update(created_at=timezone.now() - timedelta(days=40))  # a month goes by
    pass_time(days=40)
    tasks.sweep_spending()
    assert states() == [TopUpState.PAID] * 3


def test_a_raised_ceiling_holds_at_once(bob):
    low(bob, ceiling_minor=2_000)
    run_tasks()
    spend_down(bob)
    assert states() == [TopUpState.PAID]
    turn_on(bob, ceiling_minor=4_000)
    run_tasks()
    assert states() == [TopUpState.PAID] * 2


def test_the_database_refuses_an_order_above_its_ceiling_and_a_second_open_one(bob):
    offer = orders.offer_of_amount(2_000)

    def order(month_minor, ceiling_minor):
        with transaction.atomic():
            return orders.store_order(
                bob,
                offer,
                str(uuid4()),
                "sandbox",
                automatic_month_minor=month_minor,
                automatic_ceiling_minor=ceiling_minor,
            )

    for month_minor, ceiling_minor in [(2_001, 2_000), (1_999, 2_000), (None, 2_000), (2_000, None)]:
        with pytest.raises(Error, match="billing_topup_automatic_within_its_ceiling"):
            order(month_minor, ceiling_minor)
    first = order(2_000, 4_000)
    with pytest.raises(Error, match="billing_topup_one_automatic_at_a_time"):
        order(4_000, 4_000)
    TopUp.objects.filter(pk=first.pk).update(state=TopUpState.FAILED)
    order(2_000, 4_000)


def test_the_database_refuses_a_consent_whose_ceiling_is_below_one_order(bob):
    save_sandbox_card(bob)
    turn_on(bob)
    for change in ({"ceiling_minor": 1_999}, {"below_microcredits": 0}, {"consent_text": ""}):
        with pytest.raises(Error), transaction.atomic():
            AutomaticTopUp.objects.update(**change)


def test_more_than_the_ceiling_in_a_month_is_a_fault(bob, faults):
    low(bob, ceiling_minor=4_000)
    run_tasks()
    spend_down(bob)
    TopUp.objects.update(automatic_ceiling_minor=3_000, automatic_month_minor=2_000)
    assert ["came to 4000, the ceiling was 3000" in fault for fault in faults()] == [True]
    TopUp.objects.update(automatic_ceiling_minor=4_000)


# At the same time


def test_eight_tasks_at_once_make_one_order_and_one_charge(bob, monkeypatch):
    low(bob)
    take_tasks()
    is_due = automatic_topups._is_due
    monkeypatch.setattr(automatic_topups, "_is_due", lambda *what: (is_due(*what), time.sleep(0.05))[0])
    at_once(8, lambda _n: tasks.review_spending(wallet_id=bob.wallet.pk))
    assert states() == [TopUpState.PAID]
    assert balance(bob) == BELOW - CHARGE + 2_000 * CREDIT


def test_turning_off_and_buying_at_once_end_one_way(bob):
    for _round in range(4):
        TopUp.objects.all().delete()
        save = SavedCard.objects.filter(wallet__user=bob)
        if not save:
            save_sandbox_card(bob)
        turn_on(bob)
        clear_queue()
        results = at_once(
            2,
            lambda n: automatic_topups.turn_off(user=bob) if n else automatic_topups._order_if_due(bob.wallet.pk, 0),
        )
        assert not any(isinstance(result, Exception) for result in results)
        assert not automatic_of(bob).is_on
        for topup in TopUp.objects.automatic().open():
            automatic_topups.charge(topup_id=topup.pk)
        assert balance(bob) == 0


# Declines


@pytest.mark.parametrize(
    ("choice", "subject"),
    [
        ("decline", "Your card was declined: no credits were added"),
        ("authenticate", "Your bank wants to ask you: no credits were added"),
    ],
)
def test_declines_wait_longer_each_time_and_then_turn_it_off(bob, choice, subject):
    low(bob, choice)
    for hours in (1, 6, 24):
        run_tasks()
        tasks.sweep_spending()
        tasks.review_spending(wallet_id=bob.wallet.pk)  # another answer ended meanwhile
        wait = automatic_of(bob).next_attempt_at - timezone.now()
        assert timedelta(hours=hours) - timedelta(minutes=1) < wait <= timedelta(hours=hours)
        pass_time(hours=hours)
        tasks.sweep_spending()
    run_tasks()
    assert states() == [TopUpState.FAILED] * 4
    assert subjects() == [subject] * 3 + ["Automatic top-up is turned off: your card was declined again"]
    assert not automatic_of(bob).is_on
    pass_time(days=30)
    tasks.sweep_spending()
    answer(bob)
    assert run_tasks() == []
    assert len(states()) == 4
    assert balance(bob) == BELOW - 2 * CHARGE


def test_a_bank_that_wants_to_ask_gets_a_link_to_the_top_up_page(bob):
    low(bob, "authenticate")
    run_tasks()
    assert "http://127.0.0.1:8000/credits/buy/" in mail.outbox[0].body


def test_a_payment_that_works_forgets_the_declines(bob):
    low(bob, "decline")
    run_tasks()
    SavedCard.objects.update(method_reference="approve")
    pass_time(hours=2)
    tasks.sweep_spending()
    assert states() == [TopUpState.FAILED, TopUpState.PAID]
    assert (automatic_of(bob).declines_count, automatic_of(bob).next_attempt_at) == (0, None)


def test_a_failed_order_does_not_count_towards_the_ceiling(bob):
    low(bob, "decline", ceiling_minor=2_000)
    run_tasks()
    SavedCard.objects.update(method_reference="approve")
    pass_time(hours=2)
    tasks.sweep_spending()
    assert states() == [TopUpState.FAILED, TopUpState.PAID]


# Cards


def test_a_removed_card_is_not_charged_and_turns_it_off(bob):
    low(bob)
    cards.remove_card(user=bob)
    run_tasks()
    tasks.sweep_spending()
    assert (states(), automatic_of(bob).is_on) == ([], False)
    cards.remove_card(user=bob)  # a double click


def test_a_second_card_needs_the_first_one_gone(bob):
    save_sandbox_card(bob)
    with pytest.raises(PaymentError, match="Remove it first"):
        cards.start_card_setup(user=bob)


def test_a_card_entered_twice_is_one_and_for_a_removed_row_none(bob):
    save_sandbox_card(bob)
    card = SavedCard.objects.get()
    kept = sandbox.CARDS["approve"][0]
    assert cards.keep_card(card_id=card.pk, provider="sandbox", kept=kept)
    assert SavedCard.objects.get().saved_at == card.saved_at
    assert not cards.keep_card(card_id=card.pk, provider="stripe", kept=kept)
    cards.remove_card(user=bob)
    assert not cards.keep_card(card_id=card.pk, provider="sandbox", kept=kept)
    assert SavedCard.objects.count() == 0
