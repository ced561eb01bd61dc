"""How the database is emptied after a test whose transactions were real.

Django truncates every table, then makes roles, permissions and content types anew. Deleting the few rows that a test
leaves takes a fraction of that. Both wait for whoever still writes, and leave the same behind. Both need the owner's
rights, which the tests do not have themselves.
"""

from typing import Any

import psycopg
from django.db import connection
from django.test import TransactionTestCase

from core.postgresql.roles import as_owner
from tests.support.databases import owner

# What `migrate` writes and no test of this kind changes; if one does, Django does its whole work.
MADE_BY_MIGRATE = ("django_content_type", "auth_permission", "auth_group", "auth_group_permissions")
_truncate: Any = TransactionTestCase._fixture_teardown  # type: ignore[attr-defined]
_as_migrated: list[tuple[int, ...]] = []  # how many rows of each, after the first test


def install(monkeypatch: Any) -> None:
    """Empty the database this way after every test."""
    monkeypatch.setattr(TransactionTestCase, "_fixture_teardown", _empty)


def _empty(case: TransactionTestCase) -> None:
    if not _delete_rows():
        with as_owner(connection):
            _truncate(case)


def _delete_rows() -> bool:
    """Delete every row but those of MADE_BY_MIGRATE; False, with nothing deleted, where that will not do."""
    tables = sorted({*connection.introspection.django_table_names(include_views=False)} - {*MADE_BY_MIGRATE})
    try:
        with owner.connect() as connected, connected.cursor() as cursor:
            cursor.execute("SET LOCAL session_replication_role = replica")  # the ledger's walls refuse a DELETE
            cursor.execute(f"LOCK TABLE {', '.join(tables)} IN ACCESS EXCLUSIVE MODE")  # waits, as TRUNCATE does
            if not _is_as_migrated(cursor):
                return False
            cursor.execute(" UNION ALL ".join(f"(SELECT '{table}' FROM {table} LIMIT 1)" for table in tables))
            for (table,) in cursor.fetchall():
                cursor.execute(f"DELETE FROM {table}")
    except psycopg.errors.InsufficientPrivilege:  # only a superuser may pass the walls
        return False
    return True


def _is_as_migrated(cursor: Any) -> bool:
    cursor.execute(f"SELECT {', '.join(f'(SELECT count(*) FROM {table})' for table in MADE_BY_MIGRATE)}")
    rows = cursor.fetchone()
    if not _as_migrated:
        _as_migrated.append(rows)
    return rows == _as_migrated[0]
