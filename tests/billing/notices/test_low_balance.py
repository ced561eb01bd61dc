"""The low-balance alert: one e-mail each time the balance falls below the customer's threshold."""

from datetime import timedelta

import pytest
from celery import current_app
from django.core import mail
from django.db import Error, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from kombu.exceptions import OperationalError

from billing import ledger, tasks
from billing.models import EntryKind, SpendingPreferences, Wallet
from billing.notices import low_balance
from tests.billing.holds import open_hold
from tests.support.cast import CREDIT, at_once, fund
from tests.support.databases.queue import clear_queue, run_tasks, take_tasks

CHARGE = 10 * 20 + 100 * 40

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _queue(db):
    clear_queue()


def answer(user, tokens=100):
    ledger.settle(hold_id=open_hold(user, 10, tokens).pk, completion_tokens=tokens)


def armed(user):
    return Wallet.objects.get(user=user).armed_alert_microcredits


def tell_below(user, microcredits):
    low_balance.set_alert(user=user, below_microcredits=microcredits)


def test_the_alert_is_on_for_everybody_at_five_credits(bob):
    fund(bob, 5 * CREDIT + CHARGE - 1)
    assert armed(bob) == 5 * CREDIT
    answer(bob)
    run_tasks()
    (sent,) = mail.outbox
    assert sent.to == ["bob@example.com"]
    assert sent.subject == "Your balance is low: 4.999999 credits are left"
    assert "Fewer than 5.00 credits" in sent.body
    assert "http://127.0.0.1:8000/credits/" in sent.body


def test_a_balance_that_is_at_the_threshold_is_not_below_it(bob):
    fund(bob, 5 * CREDIT + CHARGE)
    answer(bob)
    assert take_tasks() == []
    answer(bob, 1)
    assert run_tasks() == ["billing.review_spending", "accounts.deliver_mail"]
    assert len(mail.outbox) == 1


def test_it_is_said_once_until_the_balance_was_above_it_again(bob):
    fund(bob, 5 * CREDIT + 1)
    for _answer in range(3):
        answer(bob)
        run_tasks()
    assert len(mail.outbox) == 1
    fund(bob, 3 * CHARGE, key="enough")
    assert armed(bob) == 5 * CREDIT
    answer(bob)
    run_tasks()
    assert len(mail.outbox) == 2


def test_credits_that_do_not_reach_the_threshold_do_not_arm_it(bob):
    fund(bob, 5 * CREDIT)
    answer(bob)
    run_tasks()
    fund(bob, 1, key="little")
    assert armed(bob) is None
    answer(bob)
    assert take_tasks() == []


def test_a_new_wallet_that_never_had_the_threshold_has_not_fallen(bob):
    fund(bob, CREDIT)
    answer(bob)
    tasks.sweep_spending()
    assert run_tasks() == []
    assert mail.outbox == []


def test_what_running_answers_hold_is_not_free_and_their_end_does_not_arm_it_again(bob):
    fund(bob, 5 * CREDIT + 3 * CHARGE)
    tell_below(bob, 5 * CREDIT + 3 * CHARGE - 400)
    running = open_hold(bob)
    answer(bob, 1)
    run_tasks()
    assert len(mail.outbox) == 1
    ledger.release(hold_id=running.pk)
    answer(bob, 1)
    assert run_tasks() == []


def test_an_answer_asks_nothing_more_for_the_alert(bob):
    fund(bob, 6 * CREDIT)
    counts = []
    for below in (5 * CREDIT, None):
        tell_below(bob, below)
        hold = open_hold(bob)
        with CaptureQueriesContext(connection) as captured:
            ledger.settle(hold_id=hold.pk, completion_tokens=1)
        counts.append(len(captured))
    assert counts[0] == counts[1]


def test_turned_off_it_says_nothing_and_turned_on_again_it_waits_for_the_next_fall(bob):
    fund(bob, 5 * CREDIT + 1)
    tell_below(bob, None)
    answer(bob)
    assert take_tasks() == []
    tell_below(bob, 5 * CREDIT)  # below it already: that is no fall
    answer(bob)
    assert take_tasks() == []
    tell_below(bob, 4 * CREDIT)
    fund(bob, CREDIT, key="more")
    ledger.adjust(user=bob, amount_microcredits=-2 * CREDIT, idempotency_key="a", reason="wrong", by=bob)
    answer(bob)
    run_tasks()
    assert len(mail.outbox) == 1


def test_turned_off_credits_that_come_in_do_not_turn_it_on(bob):
    tell_below(bob, None)
    fund(bob, 100 * CREDIT)
    assert armed(bob) is None


def test_where_alerts_are_off_by_default_customers_turn_theirs_on_and_off(bob, settings):
    settings.LOW_BALANCE_MICROCREDITS = 0
    fund(bob, CREDIT + 1)
    assert armed(bob) is None
    tell_below(bob, None)  # off already: nothing to refuse
    assert armed(bob) is None
    tell_below(bob, CREDIT)
    answer(bob)
    run_tasks()
    assert len(mail.outbox) == 1
    tell_below(bob, None)
    assert low_balance.is_low(bob.wallet) is False


@pytest.mark.parametrize(("default", "armed_then"), [(0, None), (CREDIT, CREDIT)])
def test_a_default_that_is_lowered_tells_nobody_who_is_not_below_it(bob, settings, default, armed_then):
    fund(bob, 5 * CREDIT)
    settings.LOW_BALANCE_MICROCREDITS = default
    answer(bob)
    run_tasks()
    assert mail.outbox == []
    assert armed(bob) == armed_then


@pytest.mark.parametrize("bad", [0, -5])
def test_a_threshold_below_one_is_refused(bob, bad):
    with pytest.raises(ValueError, match="at least"):
        tell_below(bob, bad)


def test_the_sweep_makes_up_for_a_lost_call_and_sees_what_expired(bob):
    ledger.grant(
        user=bob,
        kind=EntryKind.BONUS,
        amount_microcredits=9 * CREDIT,
        idempotency_key="soon",
        reason="test",
        expires_at=timezone.now() - timedelta(seconds=1),
    )
    assert ledger.expire_grants() == 1
    assert take_tasks() == []
    tasks.sweep_spending()
    tasks.sweep_spending()
    assert run_tasks() == ["accounts.deliver_mail"]
    assert len(mail.outbox) == 1


def test_an_answer_that_is_rolled_back_calls_nobody(bob):
    fund(bob, 5 * CREDIT)
    with transaction.atomic():
        answer(bob)
        transaction.set_rollback(True)
    assert take_tasks() == []


def test_with_the_broker_away_the_answer_is_settled_all_the_same(bob, monkeypatch):
    def away(*_args, **_kwargs):
        raise OperationalError("the broker is away")

    fund(bob, 5 * CREDIT)
    with monkeypatch.context() as broken:
        broken.setattr(current_app, "send_task", away)
        answer(bob)
    assert Wallet.objects.get(user=bob).balance_microcredits == 5 * CREDIT - CHARGE
    tasks.sweep_spending()
    run_tasks()
    assert len(mail.outbox) == 1


def test_eight_reviews_at_once_send_one_mail(bob):
    fund(bob, 5 * CREDIT)
    answer(bob)
    take_tasks()
    told = at_once(8, lambda _n: low_balance.tell_if_low(wallet_id=bob.wallet.pk))
    assert sorted(told) == [False] * 7 + [True]
    assert run_tasks() == ["accounts.deliver_mail"]
    assert len(mail.outbox) == 1


def test_answers_that_end_at_once_send_one_mail(bob):
    fund(bob, 5 * CREDIT + 8 * CHARGE)
    tell_below(bob, 5 * CREDIT + 8 * CHARGE)
    holds = [open_hold(bob) for _ in range(8)]
    at_once(8, lambda n: ledger.settle(hold_id=holds[n].pk, completion_tokens=100))
    run_tasks()
    assert len(mail.outbox) == 1


def test_the_credits_page_says_so_while_it_is_low(client, bob):
    client.force_login(bob)
    page = reverse("billing:overview")
    assert 'id="low"' in client.get(page).content.decode()
    fund(bob, 5 * CREDIT)
    assert 'id="low"' not in client.get(page).content.decode()
    answer(bob)
    assert 'id="low"' in client.get(page).content.decode()
    tell_below(bob, None)
    assert 'id="low"' not in client.get(page).content.decode()


def test_a_threshold_below_one_is_refused_by_the_database(bob):
    with pytest.raises(Error):
        SpendingPreferences.objects.create(wallet=bob.wallet, alert_below_microcredits=0)


def test_the_sweep_runs_every_few_minutes(settings):
    scheduled = settings.CELERY_BEAT_SCHEDULE["review-spending"]
    assert scheduled["task"] == tasks.sweep_spending.name
    assert scheduled["schedule"] <= 300
