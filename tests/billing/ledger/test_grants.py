"""Grants: where credit came from, in which order it is spent, when it expires, and where a refund goes."""

from uuid import uuid4

import pytest
from django.utils import timezone

from billing import ledger
from billing.models import EntryKind, Grant, LedgerEntry, Wallet
from tests.billing.grants import DAY, give, left, spend
from tests.billing.holds import open_hold
from tests.support.cast import at_once
from tests.support.databases.owner import as_owner

pytestmark = pytest.mark.usefixtures("ledger_alone", "each_way")


def let_expire(grant):
    """Move a grant's expiry into the past, with the walls down: time cannot be turned."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        as_owner("ALTER TABLE billing_grant DISABLE TRIGGER USER")
        as_owner("UPDATE billing_grant SET expires_at = now() - interval '1 hour' WHERE id = {}", grant.pk)
        as_owner("ALTER TABLE billing_grant ENABLE TRIGGER USER")
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")


def test_what_expires_soonest_is_spent_first_and_unpaid_before_paid(bob, faults):
    price = 20 + 24 * 40
    never_paid, never_bonus = give(bob, price, EntryKind.TOP_UP), give(bob, price)
    late = give(bob, price, EntryKind.TOP_UP, 30 * DAY)
    soon = give(bob, price, EntryKind.TOP_UP, 2 * DAY)
    in_order = [soon, late, never_bonus, never_paid]
    for spent in range(4):
        spend(bob, 24)
        assert left(*in_order) == [0] * (spent + 1) + [price] * (3 - spent)
    assert faults() == []


def test_of_what_expires_together_the_bonus_goes_before_the_paid(bob):
    moment = timezone.now() + DAY
    for kind in (EntryKind.TOP_UP, EntryKind.BONUS):
        ledger.grant(
            user=bob, kind=kind, amount_microcredits=1000, idempotency_key=kind, reason="test", expires_at=moment
        )
    spend(bob, 10)
    remaining = dict(Grant.objects.values_list("entry__kind", "remaining_microcredits"))
    assert remaining == {"bonus": 580, "top_up": 1000}


def test_one_charge_may_use_several_grants(bob, faults):
    first, second, third = give(bob, 100), give(bob, 100), give(bob, 1000)
    hold = spend(bob, 10)
    assert left(first, second, third) == [0, 0, 780]
    uses = hold.entries.get().uses.order_by("grant").values_list("amount_microcredits", flat=True)
    assert list(uses) == [-100, -100, -220]
    assert faults() == []


def test_an_expired_grant_is_taken_back_by_an_entry_once(bob, faults):
    soon, keep = give(bob, 1000, expires_in=DAY), give(bob, 500)
    spend(bob, 5)
    let_expire(soon)
    assert [ledger.expire_grants(), ledger.expire_grants()] == [1, 0]
    entry = LedgerEntry.objects.get(kind=EntryKind.EXPIRY)
    assert (entry.amount_microcredits, entry.contra_account) == (-780, "breakage")
    assert left(soon, keep) == [0, 500]
    assert Wallet.objects.get(user=bob).balance_microcredits == 500
    assert faults() == []


def test_what_a_running_answer_holds_expires_only_when_that_ends(bob, faults):
    soon = give(bob, 1000, expires_in=DAY)
    hold = open_hold(bob, 1, 10)  # 420 held
    let_expire(soon)
    ledger.expire_grants()
    assert left(soon) == [420]
    ledger.settle(hold_id=hold.pk, completion_tokens=1)  # 60 of them are spent
    ledger.expire_grants()
    assert left(soon) == [0]
    amounts = LedgerEntry.objects.filter(kind=EntryKind.EXPIRY).values_list("amount_microcredits", flat=True)
    assert sorted(amounts) == [-580, -360]
    assert faults() == []


def test_expired_credit_cannot_be_held_even_before_the_daily_task(bob, faults):
    soon = give(bob, 10_000, expires_in=DAY)
    let_expire(soon)
    with pytest.raises(ledger.InsufficientCredits) as refused:
        open_hold(bob, 1, 10)
    assert refused.value.available_microcredits == 0
    assert faults() == []


def test_a_refund_returns_to_the_grants_it_came_from(bob, faults):
    first, second = give(bob, 100), give(bob, 1000)
    hold = spend(bob, 10)  # 420: 100 of the first, 320 of the second
    refund(hold, 300)
    assert left(first, second) == [0, 980]
    refund(hold, 120)
    assert left(first, second) == [100, 1000]
    assert Wallet.objects.get(user=bob).balance_microcredits == 1100
    assert faults() == []


def refund(hold, amount, key=None, reason="A poor answer", by=None):
    return ledger.refund(
        hold_id=hold.pk,
        amount_microcredits=amount,
        idempotency_key=key or str(uuid4()),
        reason=reason,
        by=by or hold.wallet.user,
    )


def test_refunds_together_never_exceed_the_charge(bob, faults):
    give(bob, 1000)
    hold = spend(bob, 10)
    refund(hold, 400)
    with pytest.raises(ledger.RefundTooLarge) as refused:
        refund(hold, 21)
    assert refused.value.refundable_microcredits == 20
    refund(hold, 20)
    with pytest.raises(ledger.RefundTooLarge):
        refund(hold, 1)
    assert Wallet.objects.get(user=bob).balance_microcredits == 1000
    assert faults() == []


def test_a_refund_with_the_same_key_refunds_once_and_with_another_amount_is_refused(bob):
    give(bob, 1000)
    hold = spend(bob, 10)
    assert refund(hold, 100, key="k").pk == refund(hold, 100, key="k").pk
    with pytest.raises(ledger.IdempotencyConflict):
        refund(hold, 101, key="k")
    assert Wallet.objects.get(user=bob).balance_microcredits == 680


def test_nothing_is_refunded_that_was_not_charged(bob):
    give(bob, 1000)
    active, released = open_hold(bob, 1, 2), open_hold(bob, 1, 2)
    ledger.release(hold_id=released.pk)
    for hold in (active, released):
        with pytest.raises(ledger.HoldClosed):
            refund(hold, 1)


@pytest.mark.parametrize("amount", [0, -1, 1.5, "1", None, True])
def test_a_refund_is_a_positive_integer(bob, amount):
    give(bob, 1000)
    with pytest.raises(ValueError, match="positive integer"):
        refund(spend(bob, 1), amount)


def test_a_refund_and_an_adjustment_need_a_reason(bob, staff):
    give(bob, 1000)
    hold = spend(bob, 1)
    with pytest.raises(ValueError, match="reason"):
        refund(hold, 1, reason="  ")
    with pytest.raises(ValueError, match="reason"):
        ledger.adjust(user=bob, amount_microcredits=5, idempotency_key="k", reason="", by=staff)


def test_an_adjustment_up_is_a_grant_and_down_uses_grants(bob, staff, faults):
    def adjust(amount, key):
        return ledger.adjust(user=bob, amount_microcredits=amount, idempotency_key=key, reason="A mistake", by=staff)

    assert adjust(500, "up").grant.remaining_microcredits == 500
    assert adjust(-200, "down").created_by == staff
    assert adjust(-200, "down").pk == LedgerEntry.objects.latest("pk").pk
    with pytest.raises(ledger.InsufficientCredits):
        adjust(-301, "too much")
    for nothing in (0, 1.5, None):
        with pytest.raises(ValueError, match="not zero"):
            adjust(nothing, "nothing")
    assert Wallet.objects.get(user=bob).balance_microcredits == 300
    assert faults() == []


def test_an_adjustment_down_leaves_what_is_held(bob, staff):
    give(bob, 1000)
    open_hold(bob, 1, 20)  # 820 held
    with pytest.raises(ledger.InsufficientCredits):
        ledger.adjust(user=bob, amount_microcredits=-181, idempotency_key="k", reason="A mistake", by=staff)


@pytest.mark.django_db(transaction=True)
def test_two_refunds_at_once_never_exceed_the_charge(bob, faults):
    give(bob, 1000)
    hold = spend(bob, 10)  # 420
    results = at_once(8, lambda n: refund(hold, 100, key=f"race-{n}"))
    assert sum(isinstance(result, ledger.RefundTooLarge) for result in results) == 4
    assert Wallet.objects.get(user=bob).balance_microcredits == 980
    assert faults() == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("operation", ["refund", "adjust", "expire"])
def test_a_movement_sent_twice_at_once_takes_effect_once(bob, staff, faults, operation):
    give(bob, 1000)
    hold = spend(bob, 10)
    if operation == "expire":
        let_expire(give(bob, 300, expires_in=DAY))
    before = Wallet.objects.get(user=bob).balance_microcredits
    work = {
        "refund": lambda _n: refund(hold, 100, key="race"),
        "adjust": lambda _n: ledger.adjust(
            user=bob, amount_microcredits=-50, idempotency_key="race", reason="A mistake", by=staff
        ),
        "expire": lambda _n: ledger.expire_grants(),
    }[operation]
    at_once(2, work)
    moved = Wallet.objects.get(user=bob).balance_microcredits - before
    assert moved == {"refund": 100, "adjust": -50, "expire": -300}[operation]
    assert faults() == []
