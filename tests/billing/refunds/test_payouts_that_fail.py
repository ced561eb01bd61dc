"""Refunds of payments that fail, or of which nobody knows what became."""

from itertools import permutations

import pytest
from django.urls import reverse

from accounts.mail import outbox
from accounts.models import AuditEvent
from billing import ledger
from billing.models import LedgerEntry, Refund
from billing.refunds import payouts
from billing.refunds.payouts import send_approved_refunds
from billing.stripe.provider import MOST_RETRIES, StripeProvider
from billing.topups import orders
from tests.billing.grants import spend
from tests.billing.refunds.paying_out import look, send_back, stripes
from tests.billing.refunds.refunding import ask
from tests.billing.stripe.signing import deliver
from tests.billing.stripe.stripe_orders import TOTAL, balance, buy, order, owed
from tests.support.cast import at_once

pytestmark = pytest.mark.usefixtures("without_answers")


@pytest.fixture(autouse=True)
def _one_person_is_enough(settings):
    settings.REFUND_APPROVAL_MICROCREDITS = TOTAL


class Killed(BaseException):
    """What `kill -9` is to the code: nothing catches it, and PostgreSQL rolls back what was not committed."""


def kill(*_args, **_named):
    raise Killed


def test_a_refund_in_the_dashboard_that_the_bank_sends_back_gives_the_credits_back(stripe, bob):
    topup = buy(stripe, bob)
    assert deliver(stripe.refund(topup.payment_reference, 2_500)) == 200
    assert [deliver(event) for event in send_back(stripe)] == [200, 200]
    assert (look(topup), balance(bob)) == ((0, []), TOTAL)


def test_what_was_owed_for_a_refund_that_came_back_is_owed_no_more(stripe, bob, staff):
    topup = buy(stripe, bob)
    spend(bob, 100)  # 4,020
    ask(staff, 10_000, topup=topup)
    assert (balance(bob), owed(bob)) == (0, 4_020)
    assert deliver(send_back(stripe)[1]) == 200
    assert (balance(bob), owed(bob)) == (TOTAL - 4_020, 0)


def test_every_order_of_hearing_of_a_refund_and_its_return_ends_the_same(stripe, bob, staff):
    ends = set()
    for places in permutations(range(4)):
        stripe.objects["refunds"].clear()
        topup, before = order(bob), balance(bob)
        completed = stripe.pay(topup.checkout_reference)
        payment = completed["data"]["object"]["payment_intent"]
        stripe.refund(payment, 2_500)  # nobody hears of it; it comes back
        refunded = stripe.refund(payment, 1_000)  # and this one stays
        happened = [completed, refunded, *send_back(stripe)]
        waiting = [happened[place] for place in places]
        for _round in range(3):  # Stripe sends again what was not taken
            waiting = [event for event in waiting if deliver(event) != 200]
        assert waiting == []
        assert {deliver(event) for event in happened} == {200}
        ends.add((balance(bob) - before, *look(topup)[:1]))
    assert ends == {(TOTAL * 9 // 10, 1_000)}


@pytest.mark.django_db(transaction=True)
def test_what_was_read_before_the_bank_sent_the_refund_back_is_not_written_over_it(stripe, bob, staff):
    topup, answers = buy(stripe, bob), []

    def bank_is_quicker():
        answers.extend(at_once(1, lambda _n: deliver(send_back(stripe)[1])))

    stripe.after_reading["refunds"] = [lambda: None, bank_is_quicker]  # the second reading is the one after the refund
    refund = ask(staff, 2_500, topup=topup)
    assert answers == [200]
    assert (refund.state, look(topup), balance(bob)) == ("failed", (0, ["failed"]), TOTAL)


@pytest.mark.django_db(transaction=True)
def test_a_return_delivered_at_the_same_moment_by_real_threads_gives_back_once(stripe, bob, staff):
    topup = buy(stripe, bob)
    ask(staff, 2_500, topup=topup)
    before, events = LedgerEntry.objects.count(), send_back(stripe)
    assert at_once(6, lambda n: deliver(events[n % 2])) == [200] * 6
    assert (look(topup), balance(bob), LedgerEntry.objects.count() - before) == ((0, ["failed"]), TOTAL, 1)
    assert AuditEvent.objects.filter(action="refund failed").count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_refund_carried_out_at_the_same_moment_by_real_threads_is_made_once(stripe, bob, staff):
    topup = buy(stripe, bob)
    stripe.failures = [503] * (MOST_RETRIES + 1)
    refund = ask(staff, 2_500, topup=topup)
    event = stripe.event("charge.refunded", stripe.charge_of(topup.payment_reference))
    works = [lambda: payouts.carry_out(refund_id=refund.pk).state, lambda: deliver(event)]
    results = at_once(6, lambda n: works[n % 2]())
    assert set(results) == {"done", 200}
    assert (look(topup), stripes(stripe)) == ((2_500, ["done"]), [("succeeded", 2_500)])
    assert balance(bob) == TOTAL * 3 // 4
    assert AuditEvent.objects.filter(action="refund done").count() == 1


@pytest.mark.django_db(transaction=True)
def test_requests_and_webhooks_of_one_payment_at_the_same_moment_do_not_block_each_other(stripe, bob, staff):
    topup = buy(stripe, bob)
    event = stripe.refund(topup.payment_reference, 1_000)
    works = [lambda: ask(staff, 500, topup=topup).state, lambda: deliver(event)]
    assert set(at_once(8, lambda n: works[n % 2]())) == {"done", 200}
    assert look(topup) == (3_000, ["done"] * 4)
    assert balance(bob) == TOTAL * 7 // 10


# Dying between each two steps, and whoever comes next


STEPS = {
    "before Stripe is asked": (StripeProvider, "refund", kill),
    "after Stripe gave the money": (payouts, "follow_refunds", kill),
    "after reading": (payouts, "_write_down", kill),
    "while writing, after the credits moved": (payouts, "_enter", kill),
    "after the commit": (outbox, "_queue", kill),
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("next_comes", ["the next try", "the webhook", "both"])
@pytest.mark.parametrize("step", STEPS)
def test_dying_at_any_step_of_a_refund_moves_nothing_twice_and_loses_nothing(
    stripe, bob, staff, monkeypatch, step, next_comes
):
    topup = buy(stripe, bob)
    with monkeypatch.context() as dying:
        dying.setattr(*STEPS[step])
        with pytest.raises(Killed):
            ask(staff, 2_500, topup=topup)
    assert look(topup) == ((2_500, ["done"]) if step == "after the commit" else (0, ["approved"]))
    assert balance(bob) == (TOTAL * 3 // 4 if step == "after the commit" else TOTAL)
    if next_comes != "the next try" and stripe.objects["refunds"]:
        assert deliver(stripe.event("charge.refunded", stripe.charge_of(topup.payment_reference))) == 200
        assert look(topup) == (2_500, ["done"])
    if next_comes != "the webhook" or not stripe.objects["refunds"]:
        send_approved_refunds()
    assert (look(topup), stripes(stripe)) == ((2_500, ["done"]), [("succeeded", 2_500)])
    assert balance(bob) == TOTAL * 3 // 4
    assert AuditEvent.objects.filter(action="refund done").count() == 1
    assert LedgerEntry.objects.filter(kind="chargeback").count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("step", [*list(STEPS)[1:], "before the event is closed"])
def test_dying_at_any_step_of_a_return_gives_back_once(stripe, bob, staff, monkeypatch, step):
    from billing.stripe import events as stripe_events

    topup = buy(stripe, bob)
    ask(staff, 2_500, topup=topup)
    failed = send_back(stripe)[1]
    with monkeypatch.context() as dying:
        dying.setattr(*STEPS.get(step, (stripe_events, "_close", kill)))
        with pytest.raises(Killed):
            deliver(failed)
    assert deliver(failed) == 200  # Stripe had no answer
    assert (look(topup), balance(bob)) == ((0, ["failed"]), TOTAL)
    assert LedgerEntry.objects.filter(kind="chargeback").count() == 2


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("where", ["claw_back", "after"])
def test_dying_after_a_refusal_leaves_it_to_the_next_try(stripe, bob, staff, monkeypatch, where):
    topup = buy(stripe, bob)
    stripe.refund(topup.payment_reference, 6_000)  # and the webhook is lost
    with monkeypatch.context() as dying:
        dying.setattr(*((ledger, "claw_back", kill) if where == "claw_back" else (orders, "set_refunded", kill)))
        with pytest.raises(Killed):
            ask(staff, 5_000, topup=topup)
    assert (look(topup), balance(bob)) == ((0, ["approved"]), TOTAL)
    assert send_approved_refunds() == 0
    assert (look(topup), balance(bob)) == ((6_000, ["failed"]), TOTAL * 4 // 10)


# What staff sees


def test_staff_sees_why_a_refund_failed_and_tries_one_that_waits_again(stripe, bob, staff, client):
    topup = buy(stripe, bob)
    stripe.refusals = [(400, "charge_disputed")]
    ask(staff, 2_500, topup=topup)
    stripe.failures = [503] * (MOST_RETRIES + 1)
    waiting = ask(staff, 1_000, topup=topup)
    client.force_login(staff)
    url = reverse("admin:billing_refund_changelist")
    page = client.get(url).content.decode()
    assert "charge_disputed" in page
    assert "cannot be reached" in page
    chosen = [str(pk) for pk in Refund.objects.values_list("pk", flat=True)]
    page = client.post(url, {"action": "try_again", "_selected_action": chosen}, follow=True).content.decode()
    assert f"Refund {waiting.pk}: done" in page
    assert look(topup) == (1_000, ["failed", "done"])
