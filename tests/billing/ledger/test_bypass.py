"""Every way around the ledger that we could think of, and the wall that stops it."""

import threading

import pytest
from django.db import Error, connection, transaction
from django.db.models import F
from django.utils import timezone

from accounts.models import User
from billing import ledger
from billing.models import EntryKind, Grant, GrantUse, Hold, HoldState, LedgerEntry, Price, Wallet
from tests.billing.holds import charge_from_cache, open_hold
from tests.billing.ledger.attacks import refused, sql
from tests.support.cast import CREDIT, at_once, fund
from tests.support.stack import wait_until

pytestmark = pytest.mark.usefixtures("ledger_alone", "each_way")


@pytest.fixture
def hold(alice):
    return open_hold(alice, 10, 100)


def waiting_for_a_lock():
    """How many sessions of this database wait for another one's transaction."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")  # a transaction sees its first look again and again
        cursor.execute(
            "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return cursor.fetchone()[0]


def test_a_balance_cannot_be_updated(alice):
    refused(lambda: Wallet.objects.filter(user=alice).update(balance_microcredits=F("balance_microcredits") + 1))


def test_a_balance_cannot_be_saved(alice):
    wallet = alice.wallet
    wallet.refresh_from_db()
    wallet.balance_microcredits = 10**12
    refused(wallet.save)


def test_a_balance_cannot_be_bulk_updated(alice):
    wallet = Wallet.objects.get(user=alice)
    wallet.balance_microcredits += 1
    refused(lambda: Wallet.objects.bulk_update([wallet], ["balance_microcredits"]))


def test_a_harmless_save_of_a_wallet_passes(alice):
    Wallet.objects.get(user=alice).save()


def test_a_balance_cannot_be_changed_with_raw_sql(alice):
    refused(lambda: sql("UPDATE billing_wallet SET balance_microcredits = 1 WHERE user_id = %s", alice.pk))


def test_what_is_held_cannot_be_changed(alice, hold):
    refused(lambda: Wallet.objects.filter(user=alice).update(held_microcredits=0))
    refused(lambda: sql("UPDATE billing_wallet SET held_microcredits = 0"))


def test_a_wallet_cannot_be_born_rich(catalogue):
    [user] = User.objects.bulk_create([User(email="rich@example.com")])  # sends no signal: no wallet yet
    refused(lambda: Wallet.objects.create(user=user, balance_microcredits=1))
    refused(lambda: Wallet.objects.bulk_create([Wallet(user=user, balance_microcredits=1)]))


def test_a_wallet_cannot_be_deleted(alice):
    refused(lambda: sql("DELETE FROM billing_wallet WHERE user_id = %s", alice.pk))


def test_an_entry_cannot_be_updated(alice):
    refused(lambda: LedgerEntry.objects.update(amount_microcredits=1))
    refused(lambda: LedgerEntry.objects.update(reason="nothing happened"))
    refused(lambda: sql("UPDATE billing_ledgerentry SET amount_microcredits = 1"))


def test_an_entry_cannot_be_saved_again_with_another_amount(alice):
    entry = LedgerEntry.objects.get()
    entry.amount_microcredits += 1
    refused(entry.save)


def test_an_entry_cannot_be_deleted(alice):
    refused(lambda: LedgerEntry.objects.all().delete())
    refused(lambda: LedgerEntry.objects.get().delete())
    refused(lambda: sql("DELETE FROM billing_ledgerentry"))


@pytest.mark.parametrize("amount", [5 * CREDIT, -5 * CREDIT])
def test_entries_that_no_grant_stands_behind_are_refused_at_commit(alice, faults, amount):
    wallet = Wallet.objects.get(user=alice)
    entry = LedgerEntry(
        wallet=wallet,
        kind=EntryKind.ADJUSTMENT,
        reason="x",
        created_by=alice,
        amount_microcredits=amount,
        idempotency_key="x",
    )

    def attack():
        LedgerEntry.objects.bulk_create([entry])
        connection.check_constraints()  # what a commit does

    refused(attack)
    assert Wallet.objects.get(user=alice).balance_microcredits == 100 * CREDIT
    assert faults() == []


def test_a_grant_changes_only_through_its_uses(alice):
    refused(lambda: Grant.objects.update(remaining_microcredits=0))
    refused(lambda: Grant.objects.update(amount_microcredits=10**12))
    refused(lambda: Grant.objects.update(expires_at=timezone.now()))
    refused(lambda: Grant.objects.all().delete())
    Grant.objects.get().save()


def test_a_grant_is_born_whole_from_an_entry_of_its_wallet(alice, charlie, hold):
    settled = ledger.settle(hold_id=hold.pk, completion_tokens=5)
    usage = settled.entries.get()
    for entry, amount in ((usage, 5), (LedgerEntry.objects.get(wallet__user=charlie), 100 * CREDIT)):
        attack = Grant(wallet=settled.wallet, entry=entry, amount_microcredits=amount, remaining_microcredits=amount)
        refused(attack.save)


def test_a_use_is_never_changed_nor_added_to_a_finished_entry(alice, charlie, hold):
    ledger.settle(hold_id=hold.pk, completion_tokens=5)
    use = GrantUse.objects.get()
    refused(lambda: GrantUse.objects.update(amount_microcredits=-1))
    refused(lambda: GrantUse.objects.all().delete())
    theirs = Grant.objects.get(wallet__user=charlie)
    refused(GrantUse(grant=theirs, entry=use.entry, amount_microcredits=-1).save)  # another wallet's
    fund(alice, CREDIT, key="second")
    second = Grant.objects.get(entry__idempotency_key="second")

    def attack():
        GrantUse(grant=second, entry=use.entry, amount_microcredits=-1).save()
        connection.check_constraints()

    refused(attack)


def test_an_entry_cannot_overdraw(alice):
    wallet = Wallet.objects.get(user=alice)
    entry = LedgerEntry(
        wallet=wallet,
        kind=EntryKind.ADJUSTMENT,
        reason="x",
        created_by=alice,
        amount_microcredits=-101 * CREDIT,
        idempotency_key="over",
    )
    refused(entry.save)


def test_an_entry_cannot_take_what_is_held(alice, hold):
    wallet = Wallet.objects.get(user=alice)
    entry = LedgerEntry(
        wallet=wallet,
        kind=EntryKind.ADJUSTMENT,
        reason="x",
        created_by=alice,
        amount_microcredits=-100 * CREDIT,
        idempotency_key="held",
    )
    refused(entry.save)


@pytest.mark.parametrize(
    ("kind", "amount"),
    [(EntryKind.USAGE, 5), (EntryKind.BONUS, -5), (EntryKind.ADJUSTMENT, 0), (EntryKind.EXPIRY, 5)],
)
def test_an_entry_has_the_sign_of_its_kind(alice, kind, amount):
    wallet = Wallet.objects.get(user=alice)
    refused(LedgerEntry(wallet=wallet, kind=kind, amount_microcredits=amount, idempotency_key="sign").save)


def test_usage_needs_a_settled_hold_with_that_charge(alice, hold):
    wallet = Wallet.objects.get(user=alice)
    for attack in (
        LedgerEntry(wallet=wallet, kind="usage", amount_microcredits=-5, idempotency_key="a"),
        LedgerEntry(wallet=wallet, kind="usage", amount_microcredits=-5, idempotency_key="b", hold=hold),
    ):
        refused(attack.save)


def test_usage_cannot_be_charged_twice_for_one_hold(alice, hold):
    settled = ledger.settle(hold_id=hold.pk, completion_tokens=5)
    again = LedgerEntry(
        wallet=settled.wallet,
        kind="usage",
        amount_microcredits=-settled.charged_microcredits,
        idempotency_key="again",
        hold=settled,
    )
    refused(again.save, match="billing_entry_one_usage_a_hold")  # the first of several walls that it meets


def test_usage_cannot_be_charged_to_another_wallet(alice, charlie, hold):
    settled = ledger.settle(hold_id=hold.pk, completion_tokens=5)
    theirs = LedgerEntry(
        wallet=charlie.wallet,
        kind="usage",
        amount_microcredits=-settled.charged_microcredits,
        idempotency_key="theirs",
        hold=settled,
    )
    refused(theirs.save)


def test_a_hold_is_born_active(alice, hold):
    hold.pk, hold.reference, hold.state = None, "other", HoldState.RELEASED
    hold.closed_at = timezone.now()
    refused(lambda: hold.save(force_insert=True))


def test_a_hold_covers_its_worst_case(alice, hold):
    hold.pk, hold.reference, hold.amount_microcredits = None, "small", 1
    refused(lambda: hold.save(force_insert=True))


def test_a_hold_is_charged_by_its_tokens_and_prices_alone(hold):
    change = {"state": HoldState.SETTLED, "closed_at": timezone.now(), "completion_tokens": 5}
    refused(lambda: Hold.objects.update(charged_microcredits=1, **change))
    refused(lambda: Hold.objects.update(charged_microcredits=None, **change))


def test_a_hold_cannot_be_charged_beyond_what_it_holds(hold):
    refused(
        lambda: Hold.objects.update(
            state=HoldState.SETTLED,
            closed_at=timezone.now(),
            completion_tokens=101,
            charged_microcredits=10 * 20 + 101 * 40,
        )
    )


def test_a_hold_cannot_be_shrunk_grown_prolonged_reopened_or_deleted(hold):
    refused(lambda: Hold.objects.update(amount_microcredits=1))
    refused(lambda: Hold.objects.update(expires_at=timezone.now()))
    refused(lambda: Hold.objects.all().delete())
    ledger.release(hold_id=hold.pk)
    refused(lambda: Hold.objects.update(state=HoldState.ACTIVE, closed_at=None))
    refused(lambda: Hold.objects.update(state=HoldState.EXPIRED))


def test_a_hold_cannot_become_one_from_the_cache_nor_cease_to_be(alice, hold):
    closed = {"state": HoldState.SETTLED, "closed_at": timezone.now(), "completion_tokens": 100}
    rows = Hold.objects.filter(pk=hold.pk)
    refused(lambda: rows.update(is_from_cache=True))
    refused(lambda: rows.update(is_from_cache=True, charged_microcredits=hold.amount_microcredits, **closed))
    cached = charge_from_cache(alice)
    refused(lambda: Hold.objects.filter(pk=cached.pk).update(is_from_cache=False))


def test_a_hold_from_the_cache_is_charged_for_all_of_its_tokens_or_not_closed(alice):
    exact = ledger.hold(
        user=alice,
        model_key="gemma-3-270m",
        prompt_tokens=10,
        max_completion_tokens=100,
        reference="cached",
        is_from_cache=True,
    )
    refused(lambda: ledger.settle(hold_id=exact.pk, completion_tokens=99))
    refused(lambda: ledger.release(hold_id=exact.pk))
    ledger.settle(hold_id=exact.pk, completion_tokens=100)


def test_a_price_is_never_edited_deleted_or_below_one(catalogue):
    refused(lambda: Price.objects.update(prompt_microcredits_per_token=1))
    refused(lambda: Price.objects.all().delete())
    for bad in (0, -20):
        refused(
            lambda bad=bad: Price.objects.create(
                model_key="gemma-3-270m",
                prompt_microcredits_per_token=bad,
                completion_microcredits_per_token=40,
                effective_at=timezone.now(),
            )
        )


def test_an_overflow_is_refused(alice):
    wallet = Wallet.objects.get(user=alice)
    entry = LedgerEntry(wallet=wallet, kind="bonus", amount_microcredits=2**63 - 1, idempotency_key="huge")
    refused(entry.save, error=Error)


@pytest.mark.django_db(transaction=True)
def test_twenty_threads_for_the_last_credit(bob, faults):
    fund(bob, 10 * 20 + 100 * 40)
    results = at_once(20, lambda n: open_hold(bob, 10, 100, reference=f"race-{n}"))
    assert sum(isinstance(result, Hold) for result in results) == 1
    assert sum(isinstance(result, ledger.InsufficientCredits) for result in results) == 19
    assert faults() == []


@pytest.mark.django_db(transaction=True)
def test_a_hold_looks_at_the_balance_once_it_has_the_wallet(bob, faults):
    """Two that wait for the wallet together: the second sees what the first left, and is refused in plain words."""
    fund(bob, 10 * 20 + 100 * 40)
    results = []

    def hold_after_waiting(number):
        try:
            results.append(open_hold(bob, 10, 100, reference=f"waited-{number}"))
        except Exception as error:  # noqa: BLE001  the test looks at it
            results.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=hold_after_waiting, args=(number,)) for number in range(2)]
    with transaction.atomic():
        ledger.lock_wallet(user=bob)
        for thread in threads:
            thread.start()
        wait_until(lambda: waiting_for_a_lock() == len(threads), 10, "two that wait")
    for thread in threads:
        thread.join(30)
    assert {type(result) for result in results} == {Hold, ledger.InsufficientCredits}
    assert faults() == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("operation", ["grant", "hold", "settle", "release"])
def test_an_operation_sent_twice_at_once_takes_effect_once(alice, faults, operation):
    hold = open_hold(alice, reference="race")
    work = {
        "grant": lambda _n: fund(alice, CREDIT, key="race"),
        "hold": lambda _n: open_hold(alice, reference="race-hold"),
        "settle": lambda _n: ledger.settle(hold_id=hold.pk, completion_tokens=3),
        "release": lambda _n: ledger.release(hold_id=hold.pk),
    }[operation]
    before = Wallet.objects.get(user=alice)
    at_once(2, work)
    after = Wallet.objects.get(user=alice)
    moved = (
        after.balance_microcredits - before.balance_microcredits,
        after.held_microcredits - before.held_microcredits,
    )
    worst = 10 * 20 + 100 * 40
    assert (
        moved == {"grant": (CREDIT, 0), "hold": (0, worst), "settle": (-320, -worst), "release": (0, -worst)}[operation]
    )
    assert faults() == []


@pytest.mark.django_db(transaction=True)
def test_settling_and_releasing_at_once_ends_one_way(alice, faults):
    for round_number in range(5):
        hold = open_hold(alice, reference=f"round-{round_number}")
        results = at_once(
            2,
            lambda n, hold=hold: (
                ledger.release(hold_id=hold.pk) if n else ledger.settle(hold_id=hold.pk, completion_tokens=1)
            ),
        )
        assert sum(isinstance(result, ledger.HoldClosed) for result in results) == 1
    assert faults() == []
