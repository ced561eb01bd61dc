"""What the application's role may not even try, and what a wall refuses to its owner too (docs/adr/0028)."""

import psycopg
import pytest
from django.conf import settings
from django.db import IntegrityError, ProgrammingError, connection
from django.utils import timezone

from billing import ledger
from billing.models import Debt, Grant, GrantUse, Hold, LedgerEntry, Price, Wallet
from core.postgresql.roles import might_of
from tests.billing.holds import open_hold
from tests.billing.ledger.attacks import refused, sql
from tests.billing.orders import owe
from tests.support.databases import owner
from tests.support.databases.owner import as_owner

TAKE_OVER = """
CREATE FUNCTION pg_temp.take_over() RETURNS trigger LANGUAGE plpgsql {rights} AS
    $$ BEGIN UPDATE public.billing_wallet SET balance_microcredits = 10^12; RETURN NEW; END $$;
CREATE TEMPORARY TABLE door (wallet_id bigint, amount_microcredits bigint, id bigint, kind text,
    balance_after_microcredits bigint);
CREATE TRIGGER door BEFORE INSERT ON door FOR EACH ROW EXECUTE FUNCTION pg_temp.take_over();
INSERT INTO door VALUES (1)"""
BORROW = """
CREATE TEMPORARY TABLE door (wallet_id bigint, amount_microcredits bigint, id bigint, kind text,
    balance_after_microcredits bigint);
CREATE TRIGGER door AFTER INSERT ON door FOR EACH ROW EXECUTE FUNCTION public.billing_entry_move()"""
TABLES = (
    "billing_wallet",
    "billing_ledgerentry",
    "billing_hold",
    "billing_grant",
    "billing_grantuse",
    "billing_price",
    "billing_bonusmailbox",
)


def denied(statement, *parameters):
    """The application may not do this, whatever the walls say."""
    with pytest.raises(ProgrammingError) as error:
        refused(lambda: sql(statement, *parameters), error=IntegrityError)
    assert isinstance(error.value.__cause__, psycopg.errors.InsufficientPrivilege), error.value


@pytest.fixture
def temporary_tables(db):
    """A database where somebody gave the application the right to make them back, and to change wallets."""
    role, database = connection.settings_dict["USER"], connection.settings_dict["NAME"]
    as_owner(f'GRANT TEMPORARY ON DATABASE "{database}" TO "{role}"')
    return lambda: as_owner(f'GRANT UPDATE ON billing_wallet TO "{role}"')


def test_the_tests_log_in_as_a_role_that_owns_nothing(db):
    assert connection.settings_dict["USER"] == settings.DATABASE_APP_ROLE
    assert might_of(connection.connection) == []
    denied("CREATE TABLE mine ()")
    denied("CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    denied("CREATE SCHEMA mine")


@pytest.mark.parametrize("table", TABLES)
def test_it_may_not_alter_empty_or_take_over_a_table(db, table):
    for statement in (
        f"TRUNCATE {table} CASCADE",
        f"ALTER TABLE {table} DISABLE TRIGGER ALL",
        f"ALTER TABLE {table} DISABLE TRIGGER USER",
        f"ALTER TABLE {table} OWNER TO CURRENT_USER",
        f"GRANT ALL ON {table} TO CURRENT_USER",
        f"DROP TABLE {table} CASCADE",
        f"DELETE FROM {table}",
        f"CREATE TRIGGER mine BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION billing_refuse()",
        f"CREATE RULE mine AS ON UPDATE TO {table} DO INSTEAD NOTHING",
    ):
        if statement.startswith("GRANT"):
            sql(statement)  # which grants nothing: PostgreSQL only warns
            denied(f"TRUNCATE {table} CASCADE")
        else:
            denied(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "SET session_replication_role = replica",
        "DROP TRIGGER billing_wallet_guard ON billing_wallet",
        "DROP FUNCTION billing_entry_move() CASCADE",
        "ALTER FUNCTION billing_entry_move() SECURITY INVOKER",
        "CREATE OR REPLACE FUNCTION billing_wallet_guard() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RETURN NEW; END $$",
        "CREATE OR REPLACE FUNCTION billing_entry_move() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RETURN NULL; END $$",
        "COPY billing_wallet TO PROGRAM 'cat'",
        "DELETE FROM django_migrations",
        "DELETE FROM accounts_auditevent",
    ],
)
def test_it_may_not_take_a_wall_down(db, statement):
    denied(statement)


def test_it_may_not_become_the_owner(db):
    with owner.connect() as connected:
        name = connected.info.user
    denied(f'SET ROLE "{name}"')
    denied(f'SET SESSION AUTHORIZATION "{name}"')
    denied(f'GRANT "{name}" TO CURRENT_USER')
    denied("CREATE ROLE mighty SUPERUSER")
    denied("ALTER ROLE CURRENT_USER SUPERUSER")


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("billing_wallet", "balance_microcredits"),
        ("billing_wallet", "held_microcredits"),
        ("billing_grant", "remaining_microcredits"),
        ("billing_debt", "remaining_microcredits"),
        ("billing_hold", "amount_microcredits"),
        ("billing_ledgerentry", "balance_after_microcredits"),
        ("billing_grantuse", "amount_microcredits"),
        ("billing_debtpayment", "amount_microcredits"),
        ("billing_price", "prompt_microcredits_per_token"),
    ],
)
def test_it_may_not_name_an_amount_in_an_update(db, table, column):
    denied(f"UPDATE {table} SET {column} = {column}")


def test_it_may_not_make_temporary_tables(db):
    denied("CREATE TEMPORARY TABLE door (n int)")
    denied("CREATE FUNCTION pg_temp.take_over() RETURNS int LANGUAGE sql AS 'SELECT 1'")


@pytest.mark.parametrize("rights", ["SECURITY INVOKER", "SECURITY DEFINER"])
def test_a_trigger_of_its_own_sets_no_balance(alice, temporary_tables, rights):
    attack = TAKE_OVER.format(rights=rights)
    denied(attack)
    temporary_tables()
    refused(lambda: sql(attack), error=IntegrityError)  # inside a trigger, but not with the owner's rights


def test_a_trigger_of_its_own_cannot_borrow_the_function_that_moves_money(alice, temporary_tables):
    denied(BORROW)


def test_a_temporary_table_in_front_of_ours_is_not_looked_at(alice, temporary_tables):
    wallet = Wallet.objects.get(user=alice)
    sql("CREATE TEMPORARY TABLE billing_grant (entry_id bigint, amount_microcredits bigint)")
    sql(
        "INSERT INTO billing_ledgerentry (wallet_id, kind, amount_microcredits, balance_after_microcredits,"
        " idempotency_key, inputs_hash, reason, created_at) VALUES (%s, 'bonus', 5, 0, 'x', '', '', now())",
        wallet.pk,
    )
    sql("INSERT INTO pg_temp.billing_grant SELECT id, 5 FROM billing_ledgerentry WHERE idempotency_key = 'x'")
    refused(connection.check_constraints, error=IntegrityError)
    as_owner("DROP TABLE pg_temp.billing_grant")
    connection.set_rollback(True)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE billing_wallet SET balance_microcredits = 1",
        "UPDATE billing_wallet SET held_microcredits = 0",
        "UPDATE billing_grant SET remaining_microcredits = 1",
        "UPDATE billing_grant SET expires_at = now()",
        "UPDATE billing_debt SET remaining_microcredits = 0",
        "UPDATE billing_ledgerentry SET reason = 'nothing happened'",
        "UPDATE billing_hold SET amount_microcredits = 1",
        "UPDATE billing_hold SET is_from_cache = TRUE",
        "UPDATE billing_hold SET is_from_cache = TRUE, state = 'settled', completion_tokens = max_completion_tokens,"
        " charged_microcredits = amount_microcredits, closed_at = now() WHERE state = 'active'",
        "UPDATE billing_grantuse SET amount_microcredits = -1",
        "UPDATE billing_price SET prompt_microcredits_per_token = 1",
        "DELETE FROM billing_wallet",
        "DELETE FROM billing_ledgerentry",
        "DELETE FROM billing_hold",
        "DELETE FROM billing_grant",
        "DELETE FROM billing_grantuse",
        "DELETE FROM billing_debt",
        "DELETE FROM billing_price",
    ],
)
def test_the_owner_is_refused_too(alice, statement):
    ledger.settle(hold_id=open_hold(alice).pk, completion_tokens=3)
    open_hold(alice)
    owe(alice)
    refused(lambda: as_owner(statement), error=IntegrityError)


def test_a_save_that_changes_nothing_passes_and_one_that_changes_an_amount_is_refused(alice):
    ledger.settle(hold_id=open_hold(alice).pk, completion_tokens=3)
    owe(alice)
    for model in (Wallet, Hold, LedgerEntry, Grant, GrantUse, Debt, Price):
        row = model.objects.first()
        row.save()
        name = next(
            field.name for field in model._meta.fields if field.name.endswith("microcredits") or "per" in field.name
        )
        setattr(row, name, getattr(row, name) + 1)
        refused(row.save)


def test_a_save_writes_what_may_change(alice):
    wallet = Wallet.objects.get(user=alice)
    wallet.monthly_cap_microcredits = 10**9
    wallet.save()
    assert Wallet.objects.get(user=alice).monthly_cap_microcredits == 10**9
    hold = open_hold(alice)
    hold.state, hold.closed_at = "released", timezone.now()
    hold.save()
    assert Wallet.objects.get(user=alice).held_microcredits == 0
