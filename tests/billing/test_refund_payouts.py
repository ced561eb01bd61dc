"""Refunds of payments on their way through Stripe: refused, put off, lost, sent back, and dying at every step."""

from datetime import timedelta
from itertools import permutations

import pytest
from django.core import mail
from django.db import IntegrityError, transaction
from django.urls import reverse
from django.utils import timezone

from accounts.mail import outbox
from accounts.models import AuditEvent
from billing import ledger
from billing.models import LedgerEntry, Refund, RefundState, TopUp
from billing.refunds import payouts, requests
from billing.refunds.payouts import ALERT_AFTER_TRIES, LONGEST_WAIT, send_approved_refunds
from billing.refunds.requests import RefundRefused
from billing.stripe.provider import MOST_RETRIES, StripeProvider
from billing.topups import orders
from tests.billing.stripe_orders import TOTAL, alerts, balance, buy, order, owed
from tests.billing.test_grants import spend
from tests.billing.test_refunds import ask
from tests.cast import at_once
from tests.queue import run_tasks
from tests.stripe_server import deliver

pytestmark = pytest.mark.usefixtures("without_answers")


@pytest.fixture(autouse=True)
def _one_person_is_enough(settings):
    settings.REFUND_APPROVAL_MICROCREDITS = TOTAL


class Killed(BaseException):
    """What `kill -9` is to the code: nothing catches it, and PostgreSQL rolls back what was not committed."""


def kill(*_args, **_named):
    raise Killed


def now_due():
    """The time of the next try has come."""
    Refund.objects.exclude(next_try_at=None).update(next_try_at=timezone.now())


def look(topup):
    """What of the payment is refunded here, what Stripe has, and the states of our refunds."""
    found = TopUp.objects.get(pk=topup.pk)
    return found.refunded_minor, list(topup.refunds.order_by("requested_at").values_list("state", flat=True))


def stripes(server):
    """The refunds that Stripe has, by state and amount."""
    return [(refund["status"], refund["amount"]) for refund in server.objects["refunds"].values()]


def send_back(server, number=0, reason="lost_or_stolen_card"):
    """The bank sends a refund back; returns the two events of it."""
    refund_id = list(server.objects["refunds"])[number]
    return [
        server.refund_moves(refund_id, "failed", "updated", reason),
        server.refund_moves(refund_id, "failed", "failed", reason),
    ]


# Refused for good


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "charge_already_refunded"),
        (400, "charge_disputed"),
        (400, "balance_insufficient"),
        (402, "insufficient_funds"),
        (404, "resource_missing"),
    ],
)
def test_a_refund_that_stripe_refuses_has_failed_says_why_and_can_be_requested_anew(
    stripe, bob, staff, caplog, status, code
):
    topup = buy(stripe, bob)
    stripe.refusals = [(status, code)]
    refund = ask(staff, 2_500, key="first", topup=topup)
    assert (refund.state, code in refund.error, "Refused by the test" in refund.error) == ("failed", True, True)
    assert (look(topup), balance(bob)) == ((0, ["failed"]), TOTAL)
    assert [str(refund.pk) in alert for alert in alerts(caplog)] == [True]
    assert AuditEvent.objects.filter(action="refund failed", subject=bob).count() == 1
    asked = len(stripe.requests)
    assert (send_approved_refunds(), len(stripe.requests)) == (0, asked)  # it is not tried for ever
    assert ask(staff, 2_500, key="first", topup=topup).pk == refund.pk  # the same form gets the same answer
    topup.refresh_from_db()
    assert requests.refundable_amount(topup=topup) == 10_000
    assert ask(staff, 10_000, topup=topup).state == RefundState.DONE
    assert (look(topup), balance(bob)) == ((10_000, ["failed", "done"]), 0)
    assert mail.outbox == []  # nothing was committed here, and of a refusal the customer hears nothing


def test_a_refund_that_stripe_makes_and_calls_failed_at_once_has_failed(stripe, bob, staff, monkeypatch):
    topup = buy(stripe, bob)
    give_back = stripe._give_back

    def fail(*args):
        made = give_back(*args)
        stripe.refund_moves(made["id"], "failed", reason="expired_or_canceled_card")
        return made

    monkeypatch.setattr(stripe, "_give_back", fail)
    refund = ask(staff, 2_500, topup=topup)
    assert (refund.state, refund.error) == ("failed", "failed: expired_or_canceled_card")
    assert (look(topup), balance(bob)) == ((0, ["failed"]), TOTAL)


def test_the_database_wants_a_reason_and_a_payment_behind_a_failed_refund(stripe, bob, staff):
    topup = buy(stripe, bob)
    refund = ask(staff, 2_500, topup=topup)
    answer = ask(staff, 1, hold=spend(bob, 100))
    for pk, fields in ((refund.pk, {"error": ""}), (answer.pk, {"error": "why"})):
        with pytest.raises(IntegrityError, match="failed_is_of_a_payment"), transaction.atomic():
            Refund.objects.filter(pk=pk).update(state=RefundState.FAILED, **fields)


# Put off


@pytest.mark.parametrize("status", [429, 409])
def test_a_busy_stripe_is_asked_again_later(stripe, bob, staff, status):
    topup = buy(stripe, bob)
    stripe.refusals = [(status, "lock_timeout")] * (MOST_RETRIES + 1)
    assert ask(staff, 2_500, topup=topup).state == RefundState.APPROVED
    stripe.refusals = []
    now_due()
    assert (send_approved_refunds(), look(topup)) == (1, (2_500, ["done"]))


@pytest.mark.parametrize("status", [0, 401, 403, 500, 503])
def test_tries_that_may_succeed_later_come_ever_more_rarely_and_are_shouted_about(stripe, bob, staff, caplog, status):
    topup = buy(stripe, bob)
    stripe.failures = [status] * 100
    refund, waits = ask(staff, 2_500, topup=topup), []
    for tries in range(1, 12):
        refund.refresh_from_db()
        assert (refund.state, refund.tries) == ("approved", tries)
        waits.append(round((refund.next_try_at - timezone.now()).total_seconds() / 60))
        asked = len(stripe.requests)
        assert send_approved_refunds() == 0
        assert len(stripe.requests) == asked  # not before its time
        assert len(alerts(caplog)) == max(0, tries - ALERT_AFTER_TRIES + 1)
        now_due()
        send_approved_refunds()
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 360, 360]
    assert timedelta(minutes=waits[-1]) == LONGEST_WAIT
    stripe.failures = []
    now_due()
    assert (send_approved_refunds(), look(topup), stripes(stripe)) == (1, (2_500, ["done"]), [("succeeded", 2_500)])
    assert balance(bob) == TOTAL * 3 // 4


def test_a_provider_that_is_switched_off_puts_its_refunds_off(stripe, bob, staff, settings):
    topup = buy(stripe, bob)
    providers, settings.PAYMENT_PROVIDERS = settings.PAYMENT_PROVIDERS, {}
    refund = ask(staff, 2_500, topup=topup)
    assert (refund.state, refund.tries) == ("approved", 1)
    settings.PAYMENT_PROVIDERS = providers
    now_due()
    assert send_approved_refunds() == 1


def test_one_refund_that_cannot_be_carried_out_does_not_stop_the_others(stripe, bob, staff, monkeypatch, caplog):
    first, second = buy(stripe, bob), buy(stripe, bob)
    stripe.failures = [503] * (MOST_RETRIES + 1) * 2
    for topup in (first, second):
        ask(staff, 2_500, topup=topup)
    now_due()
    give = StripeProvider.refund
    broken = lambda self, topup, *rest: 1 / 0 if topup.pk == first.pk else give(self, topup, *rest)  # noqa: E731
    monkeypatch.setattr(StripeProvider, "refund", broken)
    assert send_approved_refunds() == 1
    assert (look(first), look(second)) == ((0, ["approved"]), (2_500, ["done"]))
    assert "ZeroDivisionError" in Refund.objects.get(topup=first).error


# Lost, and heard of in any order


@pytest.mark.parametrize("is_forgotten", [False, True])
def test_a_refund_whose_answer_was_lost_is_found_by_its_key_and_made_once(stripe, bob, staff, is_forgotten):
    topup = buy(stripe, bob)
    stripe.lost_answers = MOST_RETRIES + 1
    refund = ask(staff, 2_500, topup=topup)
    assert (refund.state, look(topup)[0], stripes(stripe)) == ("approved", 0, [("succeeded", 2_500)])
    if is_forgotten:
        stripe.forget_keys()  # a day has passed
    now_due()
    assert (send_approved_refunds(), look(topup), stripes(stripe)) == (1, (2_500, ["done"]), [("succeeded", 2_500)])
    assert balance(bob) == TOTAL * 3 // 4


def test_a_webhook_may_know_of_our_refund_before_we_do(stripe, bob, staff):
    topup = buy(stripe, bob)
    stripe.lost_answers = MOST_RETRIES + 1
    ask(staff, 2_500, topup=topup)
    assert deliver(stripe.event("charge.refunded", stripe.charge_of(topup.payment_reference))) == 200
    assert look(topup) == (2_500, ["done"])
    refund = Refund.objects.get()
    assert (refund.provider_reference, refund.error) == (next(iter(stripe.objects["refunds"])), "")
    asked = len(stripe.requests)
    now_due()
    assert (send_approved_refunds(), len(stripe.requests)) == (0, asked)
    assert balance(bob) == TOTAL * 3 // 4


def test_a_webhook_is_sent_again_when_the_refunds_cannot_be_read(stripe, bob):
    topup = buy(stripe, bob)
    event = stripe.refund(topup.payment_reference, 2_500)
    stripe.failures = [500] * (MOST_RETRIES + 1)
    assert [deliver(event), balance(bob), deliver(event), balance(bob)] == [500, TOTAL, 200, TOTAL * 3 // 4]


def test_a_refund_in_the_dashboard_that_nobody_heard_of_counts_as_soon_as_stripe_is_asked(stripe, bob, staff):
    topup = buy(stripe, bob)
    stripe.refund(topup.payment_reference, 6_000)  # and the webhook is lost
    refund = ask(staff, 5_000, topup=topup)
    assert (refund.state, "greater than unrefunded" in refund.error) == ("failed", True)
    assert (look(topup), balance(bob)) == ((6_000, ["failed"]), TOTAL * 4 // 10)
    with pytest.raises(RefundRefused, match=r"At most 40\.00 USD"):
        ask(staff, 4_001, topup=topup)
    assert ask(staff, 4_000, topup=topup).state == RefundState.DONE
    assert (look(topup)[0], balance(bob), stripe.charge_of(topup.payment_reference)["amount_refunded"]) == (
        10_000,
        0,
        10_000,
    )


def test_a_refund_here_tells_at_once_what_the_dashboard_gave_back_besides(stripe, bob, staff):
    topup = buy(stripe, bob)
    stripe.refund(topup.payment_reference, 6_000)  # and the webhook is lost
    ask(staff, 3_000, topup=topup)
    topup.refresh_from_db()
    assert (topup.refunded_minor, requests.refundable_amount(topup=topup)) == (9_000, 1_000)


# Sent back by the bank


def test_a_refund_that_the_bank_sends_back_has_failed_and_its_credits_return_once(
    stripe, bob, staff, caplog, django_capture_on_commit_callbacks
):
    topup = buy(stripe, bob)
    ask(staff, 2_500, topup=topup)
    before = LedgerEntry.objects.count()
    updated, failed = send_back(stripe)
    with django_capture_on_commit_callbacks(execute=True):
        assert [deliver(event) for event in (failed, updated, failed, updated)] == [200] * 4
    refund = Refund.objects.get()
    assert (refund.state, refund.error) == ("failed", "failed: lost_or_stolen_card")
    assert (look(topup), balance(bob), LedgerEntry.objects.count() - before) == ((0, ["failed"]), TOTAL, 1)
    run_tasks()
    assert [message.subject for message in mail.outbox] == ["Your refund of 25.00 USD could not be paid out"]
    assert mail.outbox[0].to == ["bob@example.com"]
    assert [str(refund.pk) in alert for alert in alerts(caplog)] == [True]
    assert ask(staff, 2_500, topup=topup).state == RefundState.DONE
    assert deliver(failed) == 200  # late, about the first one
    assert (look(topup), balance(bob)) == ((2_500, ["failed", "done"]), TOTAL * 3 // 4)


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
