"""Every kind of statement that writes past the ledger: a row that is not there moves nothing (docs/adr/0028).

`test_bypass` has the ORM's ways, `test_bypass_roles` what the application's role may not do.
"""

import psycopg
import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from billing import ledger
from billing.models import Debt, DebtPayment, EntryKind, Grant, GrantUse, Hold, LedgerEntry, Wallet
from tests.billing.holds import open_hold
from tests.billing.ledger.attacks import refused, sql
from tests.billing.orders import owe
from tests.support.cast import CREDIT, fund
from tests.support.databases.owner import as_owner

pytestmark = pytest.mark.usefixtures("ledger_alone")

ENTRY = (
    "INSERT INTO billing_ledgerentry (wallet_id, kind, amount_microcredits, balance_after_microcredits,"
    " idempotency_key, inputs_hash, reason, created_by_id, created_at)"
    " SELECT id, 'adjustment', 5000000, 0, %s, '', 'x', user_id, now() FROM billing_wallet WHERE user_id = %s"
)
since_postgresql_15 = pytest.mark.skipif("connection.pg_version < 150000", reason="MERGE came with PostgreSQL 15")


def money():
    """All that moves."""
    return [
        list(Wallet.objects.order_by("pk").values_list("balance_microcredits", "held_microcredits")),
        list(Grant.objects.order_by("pk").values_list("remaining_microcredits", flat=True)),
        list(Debt.objects.order_by("pk").values_list("remaining_microcredits", flat=True)),
    ]


@pytest.fixture
def unmoved(alice, faults):
    """Nothing has moved when the test is over, and the ledger proves itself."""
    hold = open_hold(alice)
    ledger.settle(hold_id=hold.pk, completion_tokens=3)
    open_hold(alice, reference="taken")
    owe(alice)
    before = money()
    yield
    connection.check_constraints()
    assert money() == before
    assert [fault for fault in faults() if not fault.startswith("top-up")] == []  # the debt is none of a refund's


def refused_at_commit(statement, *parameters):
    def work():
        sql(statement, *parameters)
        connection.check_constraints()

    refused(work)


def test_an_entry_with_a_taken_key_that_is_ignored_moves_nothing(alice, unmoved):
    key = LedgerEntry.objects.first().idempotency_key
    for kind, amount in ((EntryKind.BONUS, CREDIT), (EntryKind.ADJUSTMENT, -CREDIT)):
        entry = LedgerEntry(
            wallet=alice.wallet,
            kind=kind,
            amount_microcredits=amount,
            idempotency_key=key,
            reason="x",
            created_by=alice,
        )
        LedgerEntry.objects.bulk_create([entry], ignore_conflicts=True)
    sql(f"{ENTRY} ON CONFLICT DO NOTHING", key, alice.pk)
    as_owner(  # as whom an update that changes nothing passes
        f"{ENTRY.replace('%s', '{}')} ON CONFLICT (idempotency_key) DO UPDATE SET reason = billing_ledgerentry.reason",
        key,
        alice.pk,
    )


def test_a_hold_with_a_taken_reference_that_is_ignored_holds_nothing(alice, unmoved):
    hold = Hold.objects.get(reference="taken")
    hold.pk = "00000000-0000-4000-8000-000000000000"
    Hold.objects.bulk_create([hold], ignore_conflicts=True)


def test_a_use_that_is_ignored_takes_nothing_from_its_grant(alice, unmoved):
    use = GrantUse.objects.get()
    again = GrantUse(grant=use.grant, entry=use.entry, amount_microcredits=-1)
    GrantUse.objects.bulk_create([again], ignore_conflicts=True)


def test_a_payment_that_is_ignored_pays_nothing(alice, unmoved):
    debt = Debt.objects.get()
    with transaction.atomic():
        kept = DebtPayment.objects.create(debt=debt, amount_microcredits=1, idempotency_key="kept")
        again = DebtPayment(pk=kept.pk, debt=debt, amount_microcredits=1, idempotency_key="again")
        DebtPayment.objects.bulk_create([again], ignore_conflicts=True)
        debt.refresh_from_db()
        assert debt.remaining_microcredits == 4
        transaction.set_rollback(True)


def test_a_hold_that_is_closed_as_charged_without_its_entry_frees_nothing(alice, faults):
    hold = open_hold(alice)
    before = money()
    sql(
        "UPDATE billing_hold SET state = 'settled', completion_tokens = 0, closed_at = now(),"
        " charged_microcredits = prompt_tokens * prompt_microcredits_per_token WHERE id = %s",
        hold.pk,
    )
    assert money() == before
    assert any("its usage entries sum to 0" in fault for fault in faults())


def test_a_conflict_that_updates_changes_no_amount(alice, unmoved):
    key = LedgerEntry.objects.first().idempotency_key
    conflict = "ON CONFLICT (idempotency_key) DO UPDATE SET amount_microcredits = 1"
    refused(lambda: sql(f"{ENTRY} {conflict}", key, alice.pk))
    refused(
        lambda: sql(
            "INSERT INTO billing_wallet (user_id, balance_microcredits, held_microcredits, created_at)"
            " VALUES (%s, 0, 0, now()) ON CONFLICT (user_id) DO UPDATE SET balance_microcredits = 10^12",
            alice.pk,
        )
    )
    hold = Hold.objects.get(reference="taken")
    hold.amount_microcredits = hold.max_completion_tokens = hold.prompt_tokens = 1
    refused(
        lambda: Hold.objects.bulk_create(
            [hold], update_conflicts=True, unique_fields=["id"], update_fields=["max_completion_tokens"]
        )
    )


@since_postgresql_15
def test_merge_changes_no_amount_and_mints_nothing(alice, unmoved):
    refused(
        lambda: sql(
            "MERGE INTO billing_wallet w USING (SELECT %s::bigint AS id) s ON w.user_id = s.id"
            " WHEN MATCHED THEN UPDATE SET balance_microcredits = 10^12",
            alice.pk,
        )
    )
    refused_at_commit(
        "MERGE INTO billing_ledgerentry"
        " USING (SELECT id AS source, user_id FROM billing_wallet WHERE user_id = %s) s ON FALSE"
        " WHEN NOT MATCHED THEN INSERT (wallet_id, kind, amount_microcredits, balance_after_microcredits,"
        " idempotency_key, inputs_hash, reason, created_by_id, created_at)"
        " VALUES (s.source, 'adjustment', 5, 0, 'merged', '', 'x', s.user_id, now())",
        alice.pk,
    )


def copy(table, columns, *values):
    try:
        with connection.cursor() as cursor, cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as rows:
            rows.write_row(values)
    except psycopg.IntegrityError as error:  # which Django leaves as it is
        raise IntegrityError from error


def test_copy_mints_nothing(alice, unmoved):
    columns = (
        "wallet_id, kind, amount_microcredits, balance_after_microcredits, idempotency_key, inputs_hash, reason,"
        " created_at"
    )

    def attack():
        copy("billing_ledgerentry", columns, alice.wallet.pk, "bonus", 5, 0, "copied", "", "", timezone.now())
        connection.check_constraints()

    refused(attack)
    use = GrantUse.objects.get()
    refused(lambda: copy("billing_grantuse", "grant_id, entry_id, amount_microcredits", use.grant_id, use.entry_id, 5))
    fields = "user_id, balance_microcredits, held_microcredits, created_at"
    refused(lambda: copy("billing_wallet", fields, alice.pk, 10**12, 0, timezone.now()))


def test_a_statement_in_a_statement_mints_nothing(alice, unmoved):
    refused(
        lambda: sql(
            f"WITH entry AS ({ENTRY} RETURNING wallet_id) UPDATE billing_wallet w"
            " SET balance_microcredits = 10^12 FROM entry WHERE w.id = entry.wallet_id",
            "within",
            alice.pk,
        )
    )
    refused_at_commit(f"WITH entry AS ({ENTRY} RETURNING id) SELECT count(*) FROM entry", "within", alice.pk)


def test_several_entries_of_one_statement_each_say_what_the_wallet_has_after_them(bob, charlie, faults):
    wallets = [bob.wallet, charlie.wallet, bob.wallet, bob.wallet]
    entries = [
        LedgerEntry(wallet=wallet, kind="bonus", amount_microcredits=10 + n, idempotency_key=f"several-{n}")
        for n, wallet in enumerate(wallets)
    ]
    LedgerEntry.objects.bulk_create(entries)
    for entry in entries:
        Grant.objects.create(
            wallet=entry.wallet,
            entry=entry,
            amount_microcredits=entry.amount_microcredits,
            remaining_microcredits=entry.amount_microcredits,
        )
    connection.check_constraints()
    after = LedgerEntry.objects.filter(wallet=bob.wallet).order_by("pk")
    assert list(after.values_list("balance_after_microcredits", flat=True)) == [10, 10 + 12, 10 + 12 + 13]
    assert faults() == []


def test_of_several_entries_a_debit_is_not_paid_by_a_later_credit(bob, faults):
    amounts = (-5, 10)
    entries = [
        LedgerEntry(
            wallet=bob.wallet,
            kind="adjustment",
            amount_microcredits=amount,
            idempotency_key=f"pair{amount}",
            reason="x",
            created_by=bob,
        )
        for amount in amounts
    ]
    refused(lambda: LedgerEntry.objects.bulk_create(entries))


def test_entries_that_are_ignored_leave_the_others_their_balances(bob, faults):
    fund(bob, 100, key="first")
    rows = "".join(f", ({n}, '{key}')" for n, key in enumerate(["first", "second", "first", "third"]))
    sql(
        "INSERT INTO billing_ledgerentry (wallet_id, kind, amount_microcredits, balance_after_microcredits,"
        f" idempotency_key, inputs_hash, reason, created_at) SELECT w.id, 'bonus', 10, 0, r.key, '', '', now()"
        f" FROM (VALUES {rows[2:]}) r (n, key), billing_wallet w WHERE w.user_id = %s ORDER BY n"
        " ON CONFLICT DO NOTHING",
        bob.pk,
    )
    after = LedgerEntry.objects.filter(wallet=bob.wallet).order_by("pk")
    assert list(after.values_list("balance_after_microcredits", flat=True)) == [100, 110, 120]
    assert Wallet.objects.get(user=bob).balance_microcredits == 120
    refused(connection.check_constraints)  # no grant stands behind them
    transaction.set_rollback(True)


def test_an_entry_takes_the_next_number_whatever_number_it_asks_for(bob, faults):
    asked = {"wallet": bob.wallet, "kind": "bonus", "amount_microcredits": 5, "idempotency_key": "far"}
    LedgerEntry.objects.create(pk=10**12, **asked)
    stored = LedgerEntry.objects.get(idempotency_key="far")
    assert stored.pk < 10**12
    Grant.objects.create(wallet=bob.wallet, entry=stored, amount_microcredits=5, remaining_microcredits=5)
    fund(bob, 100, key="next")
    assert faults() == []
