"""Rows that are written past the walls."""

from django.db import connection

from tests.support.databases.owner import as_owner

TABLES = (
    "billing_wallet",
    "billing_ledgerentry",
    "billing_hold",
    "billing_grant",
    "billing_grantuse",
    "billing_price",
    "accounts_auditevent",
)


def forge(statement):
    """Run a statement with the walls down."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    for table in TABLES:
        as_owner(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    as_owner(statement)
    for table in TABLES:
        as_owner(f"ALTER TABLE {table} ENABLE TRIGGER USER")
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")
