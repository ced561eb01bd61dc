"""The monthly cap: what a customer spends in a calendar month stays below it, whatever runs at once."""

import time
from datetime import UTC, datetime, timedelta
from unittest import mock

import pytest
from django.db import Error, transaction
from django.utils import timezone

from billing import ledger
from billing.ledger import caps, thresholds
from billing.models import Hold, SpendingPreferences, Wallet
from billing.notices import low_balance
from tests.billing.holds import COMPLETION_PRICE, PROMPT_PRICE, open_hold
from tests.support.cast import CREDIT, at_once, fund

pytestmark = pytest.mark.usefixtures("ledger_alone", "each_way")

PROMPT = 10 * PROMPT_PRICE
ANSWER = PROMPT + 100 * COMPLETION_PRICE  # what `open_hold` holds and `answer` charges


def answer(user, tokens=100):
    return ledger.settle(hold_id=open_hold(user, 10, tokens).pk, completion_tokens=tokens)


def cap(user, microcredits):
    caps.set_cap(user=user, cap_microcredits=microcredits)


def room(user):
    return caps.read_room_microcredits(Wallet.objects.get(user=user))


def refund(hold, amount, by):
    return ledger.refund(
        hold_id=hold.pk, amount_microcredits=amount, idempotency_key=f"r:{hold.pk}", reason="poor", by=by
    )


def at(moment):
    return mock.patch("django.utils.timezone.now", return_value=moment)


def test_an_answer_is_clamped_to_what_the_cap_leaves(alice):
    answer(alice)
    cap(alice, ANSWER + PROMPT + 50 * COMPLETION_PRICE + 39)
    hold = open_hold(alice, 10, 1000)
    assert hold.max_completion_tokens == 50
    assert room(alice) == 39


def test_the_balance_still_clamps_below_the_cap(bob):
    fund(bob, PROMPT + 20 * COMPLETION_PRICE)
    cap(bob, CREDIT)
    assert open_hold(bob, 10, 1000).max_completion_tokens == 20


def test_a_cap_that_leaves_no_useful_answer_refuses_with_its_figures(alice, settings, faults):
    settings.MIN_AFFORDABLE_TOKENS = 16
    answer(alice)
    cap(alice, ANSWER + PROMPT + 15 * COMPLETION_PRICE)
    with pytest.raises(ledger.MonthlyCapReached) as refused:
        open_hold(alice, 10, 1000)
    error = refused.value
    assert error.cap_microcredits == ANSWER + PROMPT + 15 * COMPLETION_PRICE
    assert error.room_microcredits == PROMPT + 15 * COMPLETION_PRICE
    assert error.needed_microcredits == PROMPT + 16 * COMPLETION_PRICE
    assert Hold.objects.count() == 1
    assert faults() == []


def test_a_cap_below_what_was_spent_leaves_nothing_and_says_zero(alice):
    answer(alice)
    cap(alice, 1)
    with pytest.raises(ledger.MonthlyCapReached) as refused:
        open_hold(alice)
    assert refused.value.room_microcredits == 0


def test_what_running_answers_hold_counts_as_spent_and_is_room_again_when_freed(alice):
    cap(alice, 2 * ANSWER)
    first = open_hold(alice)
    open_hold(alice)
    with pytest.raises(ledger.MonthlyCapReached):
        open_hold(alice)
    ledger.release(hold_id=first.pk)
    assert open_hold(alice).max_completion_tokens == 100


def test_a_refund_of_this_months_charge_makes_room(alice, staff):
    cap(alice, ANSWER)
    charged = answer(alice)
    assert room(alice) == 0
    refund(charged, 1_000, staff)
    assert room(alice) == 1_000


def test_a_refund_of_last_months_charge_makes_none(alice, staff):
    with at(timezone.now() - timedelta(days=40)):
        charged = answer(alice)
    cap(alice, ANSWER)
    refund(charged, 1_000, staff)
    assert room(alice) == ANSWER


def test_a_bonus_an_expiry_and_a_top_up_are_no_spending(alice, staff):
    cap(alice, ANSWER)
    ledger.adjust(user=alice, amount_microcredits=-CREDIT, idempotency_key="a", reason="wrong", by=staff)
    assert room(alice) == ANSWER


def test_the_month_begins_at_midnight_utc(alice):
    cap(alice, ANSWER)
    with at(datetime(2026, 10, 31, 23, 59, 59, 999999, tzinfo=UTC)):
        answer(alice)
        assert room(alice) == 0
    with at(datetime(2026, 11, 1, tzinfo=UTC)):
        assert room(alice) == ANSWER
        answer(alice)
        assert room(alice) == 0


def test_lifting_the_cap_lifts_it_and_raising_it_leaves_more(alice):
    answer(alice)
    cap(alice, ANSWER)
    with pytest.raises(ledger.MonthlyCapReached):
        open_hold(alice)
    cap(alice, 2 * ANSWER)
    open_hold(alice)
    cap(alice, None)
    open_hold(alice)
    assert room(alice) is None


def test_the_count_is_kept_so_that_no_hold_adds_up_the_whole_month(alice, staff, monkeypatch, faults):
    monkeypatch.setattr(caps, "COUNT_ANEW_ENTRIES", 4)  # the first credit and three answers
    cap(alice, CREDIT)
    charged = [answer(alice) for _ in range(3)]
    assert not SpendingPreferences.objects.exists()
    open_hold(alice)
    kept = SpendingPreferences.objects.get()
    assert (kept.counted_microcredits, kept.counted_month) == (3 * ANSWER, timezone.now().date().replace(day=1))
    assert room(alice) == CREDIT - 4 * ANSWER
    refund(charged[0], 500, staff)  # of a charge that is counted already
    answer(alice)
    assert room(alice) == CREDIT - 5 * ANSWER + 500
    assert faults() == []


def test_a_kept_count_of_last_month_is_not_taken_for_this_one(alice, monkeypatch):
    monkeypatch.setattr(caps, "COUNT_ANEW_ENTRIES", 1)
    cap(alice, CREDIT)
    with at(timezone.now() - timedelta(days=40)):
        answer(alice)
        ledger.release(hold_id=open_hold(alice).pk)
    assert SpendingPreferences.objects.get().counted_microcredits == ANSWER
    assert room(alice) == CREDIT
    answer(alice)
    assert room(alice) == CREDIT - ANSWER


def test_where_alerts_are_off_a_count_is_kept_and_turns_none_on(alice, settings, monkeypatch, faults):
    settings.LOW_BALANCE_MICROCREDITS = 0
    monkeypatch.setattr(caps, "COUNT_ANEW_ENTRIES", 1)
    cap(alice, CREDIT)
    answer(alice)
    answer(alice)
    assert SpendingPreferences.objects.get().counted_microcredits == ANSWER
    assert thresholds.alert_threshold(alice.wallet) is None
    fund(alice, CREDIT, key="more")
    assert Wallet.objects.get(user=alice).armed_alert_microcredits != 0
    assert faults() == []


def test_a_count_that_is_kept_leaves_the_alert_as_it_was(alice, monkeypatch):
    monkeypatch.setattr(caps, "COUNT_ANEW_ENTRIES", 1)
    cap(alice, CREDIT)
    answer(alice)
    assert thresholds.alert_threshold(alice.wallet) == 5 * CREDIT
    low_balance.set_alert(user=alice, below_microcredits=None)
    answer(alice)
    assert thresholds.alert_threshold(alice.wallet) is None


def test_a_count_that_is_wrong_is_a_fault(alice, monkeypatch, faults):
    monkeypatch.setattr(caps, "COUNT_ANEW_ENTRIES", 1)
    cap(alice, CREDIT)
    answer(alice)
    open_hold(alice)
    SpendingPreferences.objects.update(counted_microcredits=7)
    assert [f"7 counted as spent in a month, the charges and refunds up to then say {ANSWER}" in f for f in faults()]


@pytest.mark.parametrize("bad", [0, -1])
def test_a_cap_below_one_is_refused_here_and_by_the_database(alice, bad):
    with pytest.raises(ValueError, match="at least"):
        cap(alice, bad)
    with pytest.raises(Error), transaction.atomic():
        Wallet.objects.filter(user=alice).update(monthly_cap_microcredits=bad)


@pytest.mark.django_db(transaction=True)
def test_two_holds_at_once_do_not_pass_the_cap_together(alice, monkeypatch, faults):
    cap(alice, 3 * ANSWER)
    count_spent = caps.count_spent
    monkeypatch.setattr(caps, "count_spent", lambda wallet: (count_spent(wallet), time.sleep(0.05))[0])
    results = at_once(8, lambda n: open_hold(alice, reference=f"race-{n}"))
    assert sum(isinstance(result, Hold) for result in results) == 3
    assert sum(isinstance(result, ledger.MonthlyCapReached) for result in results) == 5
    assert faults() == []


@pytest.mark.django_db(transaction=True)
def test_holds_and_settlements_at_once_never_spend_more_than_the_cap(alice, monkeypatch, faults):
    monkeypatch.setattr(caps, "COUNT_ANEW_ENTRIES", 2)
    cap(alice, 5 * ANSWER)

    def work(number):
        for _round in range(4):
            try:
                answer(alice)
            except ledger.MonthlyCapReached:
                return

    assert at_once(4, work) == [None] * 4
    assert caps.count_spent(Wallet.objects.get(user=alice)).microcredits == 5 * ANSWER
    assert faults() == []
