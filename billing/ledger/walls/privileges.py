"""The rights of the application's role on the tables. `migrate` grants them each time, as the owner (docs/adr/0028).

The role may read, insert, update and delete rows, and nothing else. In tables of money (`billing.models.kept`) it may
not delete rows, and it may update only the columns that the model names.
"""

from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.conf import settings
from django.db import connections, transaction

from billing.models.kept import Kept

APPEND_ONLY = {"accounts_auditevent"}
READ_ONLY = {"django_migrations"}


def grant_to_application(*, using: str, **_signal: Any) -> None:
    """Grant all of these rights and revoke any others. Connected to `post_migrate`."""
    connection = connections[using]
    if settings.DATABASE_APP_ROLE in ("", connection.settings_dict["USER"]):  # the owner is also the application's role
        return
    role = connection.ops.quote_name(settings.DATABASE_APP_ROLE)
    with transaction.atomic(using=using), connection.cursor() as cursor:
        for statement in (*_of_database(connection, role), *_of_tables(connection, role)):
            cursor.execute(statement)


def _of_database(connection: Any, role: str) -> Iterator[str]:
    """Yield the statements for the database and its schema.

    By default every role may create temporary tables, and before PostgreSQL 15 other tables too. Both rights are
    revoked.
    """
    database = connection.ops.quote_name(connection.settings_dict["NAME"])
    yield f"REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC"
    yield f"GRANT CONNECT ON DATABASE {database} TO {role}"
    yield "REVOKE CREATE ON SCHEMA public FROM PUBLIC"
    yield f"GRANT USAGE ON SCHEMA public TO {role}"


def _of_tables(connection: Any, role: str) -> Iterator[str]:
    """Yield the statements for the tables.

    The default privileges at the end apply to tables that the next migration makes; this function corrects them when
    that migration is done.
    """
    yield f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {role}"
    for table in connection.introspection.table_names():
        yield f"GRANT {_rights(table)} ON {connection.ops.quote_name(table)} TO {role}"
    yield f"GRANT SELECT, USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}"
    usual = "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT"
    yield f"{usual} SELECT, INSERT, UPDATE, DELETE ON TABLES TO {role}"
    yield f"{usual} SELECT, USAGE ON SEQUENCES TO {role}"


def _rights(table: str) -> str:
    if table in READ_ONLY:
        return "SELECT"
    kept = {model._meta.db_table: model for model in apps.get_models() if issubclass(model, Kept)}.get(table)
    if kept is None:
        return "SELECT, INSERT" if table in APPEND_ONLY else "SELECT, INSERT, UPDATE, DELETE"
    columns = ", ".join(kept.MAY_CHANGE)
    return f"SELECT, INSERT, UPDATE ({columns})" if columns else "SELECT, INSERT"
