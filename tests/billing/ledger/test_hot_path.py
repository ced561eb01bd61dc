"""The hold and the settlement that are one call each: the same rows as under the lock, or nothing."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from billing import ledger
from billing.ledger import hot_path
from billing.ledger.caps import set_cap
from billing.ledger.entries import find_repeat
from billing.models import EntryKind, Grant, GrantUse, Hold, LedgerEntry, Wallet
from tests.billing.conftest import hold_under_the_lock
from tests.billing.grants import DAY, give
from tests.billing.holds import open_hold
from tests.billing.orders import owe
from tests.support.cast import UserFactory, fund

pytestmark = pytest.mark.usefixtures("ledger_alone")

MODEL = "gemma-3-270m"
# What two wallets with the same story may differ in: names of rows, and moments.
OWN = {"id", "user_id", "wallet_id", "hold_id", "entry_id", "grant_id", "reference", "reason", "idempotency_key"}
OWN |= {"inputs_hash", "created_at", "closed_at", "expires_at"}


def draft(**changes):
    now = timezone.now()
    usual = {"reference": f"test:{uuid4()}", "model_key": MODEL, "prompt_tokens": 10, "max_completion_tokens": 100}
    return Hold(**{**usual, "created_at": now, "expires_at": now + DAY, **changes})


def rows_of(user):
    """All that the ledger has of a wallet, the oldest first."""
    of_wallet = {"wallet__user": user}
    found = [
        Wallet.objects.filter(user=user),
        Hold.objects.filter(**of_wallet).order_by("created_at"),
        LedgerEntry.objects.filter(**of_wallet).order_by("pk"),
        Grant.objects.filter(**of_wallet).order_by("pk"),
        GrantUse.objects.filter(grant__wallet__user=user).order_by("pk"),
    ]
    return [
        [{name: value for name, value in row.items() if name not in OWN} for row in each.values()] for each in found
    ]


def live(user):
    """Twelve grants of three kinds, some of which expire, and answers that spend some of them."""
    for number in range(12):
        kind = [EntryKind.TOP_UP, EntryKind.BONUS, EntryKind.PROMOTION][number % 3]
        give(user, 300 + number, kind=kind, expires_in=[None, DAY, 2 * DAY, DAY][number % 4])
    for produced in (0, 3, 19, 20, 7):
        hold = open_hold(user, 1, 20)
        ledger.settle(hold_id=hold.pk, completion_tokens=produced)
    return rows_of(user)


class Died(Exception):
    """A process that dies in the middle."""


def dying(self, **arguments):
    raise Died


def test_both_ways_write_the_same_rows(catalogue, monkeypatch, faults):
    in_one_call = live(UserFactory.create())
    hold_under_the_lock(monkeypatch)
    assert live(UserFactory.create()) == in_one_call
    assert faults() == []


def test_both_ways_remember_the_same_inputs(alice):
    settled = ledger.settle(hold_id=open_hold(alice).pk, completion_tokens=3)
    repeat = find_repeat(alice.wallet, EntryKind.USAGE, -320, f"usage:{settled.pk}", settled)
    assert repeat == LedgerEntry.objects.get(hold=settled)


def test_each_is_one_statement(alice, django_assert_num_queries):
    with django_assert_num_queries(1 + 2):  # and the savepoint of the transaction that a test runs in
        hold = open_hold(alice, 10, 100)
    with django_assert_num_queries(1 + 2):
        ledger.settle(hold_id=hold.pk, completion_tokens=50)


@pytest.mark.django_db(transaction=True)
def test_outside_a_transaction_each_is_one_round_trip(alice, django_assert_num_queries):
    """Without BEGIN and COMMIT, which Django counts: the wallet is locked while the database works, and no longer."""
    with django_assert_num_queries(1):
        hold = open_hold(alice, 10, 100)
    with django_assert_num_queries(1):
        ledger.settle(hold_id=hold.pk, completion_tokens=50)
    alice.wallet.refresh_from_db()
    assert alice.wallet.held_microcredits == 0


@pytest.mark.django_db(transaction=True)
def test_outside_a_transaction_an_uncommon_one_is_all_or_nothing(alice, bob, monkeypatch, faults):
    give(bob, 10**6)
    give(bob, 1000, expires_in=-DAY)  # due to expire: taken back by whoever holds next
    monkeypatch.setattr(Hold, "save", dying)
    with pytest.raises(Died):
        open_hold(bob, 10, 1)
    assert list(LedgerEntry.objects.filter(wallet=bob.wallet, kind=EntryKind.EXPIRY)) == []
    assert faults() == []


def test_what_fails_in_a_callers_transaction_undoes_itself_alone(alice, bob):
    with pytest.raises(ledger.InsufficientCredits):
        open_hold(bob, 10**6, 100)
    kept = open_hold(alice, 10, 100)
    with pytest.raises(ledger.IdempotencyConflict):
        ledger.hold(user=alice, model_key=MODEL, prompt_tokens=1, max_completion_tokens=1, reference=kept.reference)
    with pytest.raises(ValueError, match="the hold covers"):
        ledger.settle(hold_id=kept.pk, completion_tokens=101)
    assert ledger.settle(hold_id=kept.pk, completion_tokens=100).charged_microcredits


def test_a_cap_costs_the_lock_and_the_count(alice, django_assert_num_queries):
    set_cap(user=alice, cap_microcredits=10**6)
    with django_assert_num_queries(1 + 1 + 2 + 1 + 2):  # tried, locked, counted, placed
        assert open_hold(alice, 10, 100).max_completion_tokens == 100


def test_what_is_returned_is_what_is_stored(alice):
    placed = hot_path.place_hold(alice.pk, draft())
    stored = Hold.objects.get(pk=placed.pk)
    assert {f.attname: getattr(placed, f.attname) for f in Hold._meta.concrete_fields} == {
        f.attname: getattr(stored, f.attname) for f in Hold._meta.concrete_fields
    }
    settled = hot_path.settle_hold(placed.pk, 3, timezone.now())
    assert (settled, settled.wallet) == (Hold.objects.get(pk=placed.pk), alice.wallet)
    fresh = Wallet.objects.get(user=alice)
    assert settled.charged_microcredits == 10 * 20 + 3 * 40
    assert settled.wallet.balance_microcredits == fresh.balance_microcredits
    assert settled.wallet.held_microcredits == fresh.held_microcredits == 0


@pytest.mark.parametrize(
    ("changes", "room"),
    [
        ({"model_key": "nobody-priced-it"}, None),
        ({"max_completion_tokens": 10**9}, None),
        ({"max_completion_tokens": 2**62}, None),  # times a price, it is no bigint
        ({"reference": "taken"}, None),
        ({}, 10 * 20 + 100 * 40 - 1),
    ],
)
def test_what_is_not_ordinary_is_not_held(alice, changes, room):
    open_hold(alice, reference="taken")
    before = rows_of(alice)
    assert hot_path.place_hold(alice.pk, draft(**changes), room) is None
    assert rows_of(alice) == before


def test_what_is_exactly_enough_is_held(bob, alice):
    fund(bob, 10 * 20 + 100 * 40)
    assert hot_path.place_hold(bob.pk, draft()) is not None
    assert hot_path.place_hold(alice.pk, draft(), 10 * 20 + 100 * 40) is not None


def test_nobodys_wallet_and_a_debtors_hold_nothing(bob):
    fund(bob, 10**6)
    owe(bob)
    assert hot_path.place_hold(bob.pk, draft()) is None
    assert hot_path.place_hold(0, draft()) is None


def test_credit_that_is_due_to_expire_is_not_held(bob):
    fund(bob, 10**6)
    give(bob, 5, expires_in=timedelta(microseconds=1))
    assert hot_path.place_hold(bob.pk, draft()) is None


def test_a_capped_wallet_holds_nothing_before_somebody_has_counted(alice):
    set_cap(user=alice, cap_microcredits=10**9)
    assert hot_path.place_hold(alice.pk, draft()) is None
    assert hot_path.place_hold(alice.pk, draft(), 10**9) is not None


@pytest.mark.parametrize("produced", [-1, 101, 2**40])
def test_a_count_outside_the_hold_settles_nothing(alice, produced):
    hold = open_hold(alice, 10, 100)
    before = rows_of(alice)
    assert hot_path.settle_hold(hold.pk, produced, timezone.now()) is None
    assert rows_of(alice) == before


def test_a_closed_hold_an_unknown_one_and_a_debtors_settle_nothing(alice, bob):
    fund(bob, 10**6)
    settled, released, of_debtor = open_hold(alice), open_hold(alice), open_hold(bob)
    ledger.settle(hold_id=settled.pk, completion_tokens=3)
    ledger.release(hold_id=released.pk)
    owe(bob)
    before = rows_of(alice), rows_of(bob)
    for hold_id in (settled.pk, released.pk, of_debtor.pk, uuid4()):
        assert hot_path.settle_hold(hold_id, 3, timezone.now()) is None
    assert (rows_of(alice), rows_of(bob)) == before


def test_grants_are_spent_in_the_order_that_pages_show(bob):
    """The order is written twice (docs/adr/0024)."""
    live(bob)
    in_order = list(bob.wallet.grants.unspent().in_spending_order().values_list("pk", flat=True))
    hold = open_hold(bob, 1, 10**6)
    ledger.settle(hold_id=hold.pk, completion_tokens=hold.max_completion_tokens)
    used = list(GrantUse.objects.filter(entry__hold=hold).order_by("pk").values_list("grant", flat=True))
    assert used == in_order
    assert len(used) > 5
