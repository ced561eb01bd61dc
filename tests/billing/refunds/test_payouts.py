"""Refunds of payments on their way through Stripe: refused, put off, lost, sent back, and dying at every step."""

from datetime import timedelta

import pytest
from django.core import mail
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.models import AuditEvent
from billing.models import LedgerEntry, Refund, RefundState
from billing.refunds import requests
from billing.refunds.payouts import ALERT_AFTER_TRIES, LONGEST_WAIT, send_approved_refunds
from billing.refunds.requests import RefundRefused
from billing.stripe.provider import MOST_RETRIES, StripeProvider
from tests.billing.grants import spend
from tests.billing.refunds.paying_out import look, send_back, stripes
from tests.billing.refunds.refunding import ask
from tests.billing.stripe.signing import deliver
from tests.billing.stripe.stripe_orders import TOTAL, alerts, balance, buy
from tests.support.databases.queue import run_tasks

pytestmark = pytest.mark.usefixtures("without_answers")


@pytest.fixture(autouse=True)
def _one_person_is_enough(settings):
    settings.REFUND_APPROVAL_MICROCREDITS = TOTAL


def now_due():
    """The time of the next try has come."""
    Refund.objects.exclude(next_try_at=None).update(next_try_at=timezone.now())


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
    with pytest.raises(RefundRefused, match=r"At most \$40"):
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
    assert [message.subject for message in mail.outbox] == ["Your refund of $25 could not be paid out"]
    assert mail.outbox[0].to == ["bob@example.com"]
    assert [str(refund.pk) in alert for alert in alerts(caplog)] == [True]
    assert ask(staff, 2_500, topup=topup).state == RefundState.DONE
    assert deliver(failed) == 200  # late, about the first one
    assert (look(topup), balance(bob)) == ((2_500, ["failed", "done"]), TOTAL * 3 // 4)
