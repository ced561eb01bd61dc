"""The database holds the walls that the files in `billing/ledger/walls` say, and no others."""

import re
from importlib import import_module

import pytest
from django.db import connection

from billing.ledger import walls
from tests.support.databases.owner import as_owner

MIGRATION = import_module("billing.migrations.0016_walls_of_files")
FUNCTIONS = """
SELECT p.oid::regprocedure::text, pg_get_functiondef(p.oid), p.proacl::text, p.proowner = c.relowner
FROM pg_proc p, pg_class c WHERE c.oid = 'billing_wallet'::regclass AND p.pronamespace = c.relnamespace
    AND p.proname LIKE 'billing\\_%'"""
TRIGGERS = """
SELECT tgrelid::regclass || '.' || tgname, pg_get_triggerdef(t.oid), tgenabled::text, ''
FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid WHERE NOT tgisinternal AND c.relname LIKE 'billing\\_%'"""
MOVES_MONEY = {"billing_entry_move()", "billing_hold_move()", "billing_grant_use_move()", "billing_debt_pay()"}

pytestmark = pytest.mark.django_db


def rows(statement):
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return {name: rest for name, *rest in cursor.fetchall()}


def install():
    as_owner(walls.read(*MIGRATION.WALLS))


def test_every_file_is_a_wall_that_a_migration_builds():
    assert sorted(MIGRATION.WALLS) == sorted(path.stem for path in walls.FOLDER.glob("*.sql"))


def test_the_database_holds_exactly_what_the_files_say():
    stands = rows(FUNCTIONS) | rows(TRIGGERS)
    as_owner(MIGRATION.REMOVE)
    assert rows(FUNCTIONS) | rows(TRIGGERS) == {}
    install()
    assert rows(FUNCTIONS) | rows(TRIGGERS) == stands
    assert len(stands) > 30


def test_a_file_may_be_run_again():
    before = rows(FUNCTIONS) | rows(TRIGGERS)
    install()
    assert rows(FUNCTIONS) | rows(TRIGGERS) == before


def test_every_wall_looks_for_names_in_the_same_schemas_whoever_calls():
    for name, (text, _rights, is_the_owners) in rows(FUNCTIONS).items():
        assert re.search(r"SET search_path TO 'pg_catalog', 'public', 'pg_temp'", text), name
        assert is_the_owners, name


def test_those_that_move_money_have_the_owners_rights_and_nobody_else_may_call_them():
    functions = rows(FUNCTIONS)
    assert {name for name, (text, *_) in functions.items() if "SECURITY DEFINER" in text} == MOVES_MONEY
    for name in MOVES_MONEY:
        rights = functions[name][1]
        assert rights is not None, name  # which would be the usual: everybody may
        assert re.search(r"[{,]=", rights) is None, name


def test_money_moves_after_the_row_is_there():
    triggers = {name.partition(".")[2] + "()": text for name, (text, *_) in rows(TRIGGERS).items()}
    assert [name for name in MOVES_MONEY if " AFTER INSERT " not in triggers[name]] == []


def test_the_walls_of_before_stand_again_when_the_migration_is_taken_back():
    as_owner(MIGRATION.BACKWARD)
    assert "BEFORE INSERT" in rows(TRIGGERS)["billing_ledgerentry.billing_entry_move"][0]
    install()
