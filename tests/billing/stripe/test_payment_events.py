"""What Stripe's events make of an order: pending, credited, taken back, in whatever order they come."""

import time
from itertools import permutations

import pytest

from billing import ledger
from billing.models import LedgerEntry, PaymentEvent, TopUp, TopUpState
from billing.stripe import events as stripe_events
from billing.stripe.provider import MOST_RETRIES
from tests.billing.grants import spend
from tests.billing.stripe.signing import deliver
from tests.billing.stripe.stripe_orders import PAID, TOTAL, balance, buy, dispute_id, order, owed, state_of
from tests.support.cast import at_once

pytestmark = pytest.mark.usefixtures("without_answers")


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
