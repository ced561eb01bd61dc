"""What the application's role may do with the tables; `migrate` grants it each time, as their owner (docs/adr/0028).

It may read, insert, update and delete rows, and nothing else. Of money (`billing.models.kept`) it deletes nothing and
updates no column but those that the model names.
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
    """Grant it all, and take away what is not granted any more. Connected to `post_migrate`."""
    connection = connections[using]
    if settings.DATABASE_APP_ROLE in ("", connection.settings_dict["USER"]):  # one role does both
        return
    role = connection.ops.quote_name(settings.DATABASE_APP_ROLE)
    with transaction.atomic(using=using), connection.cursor() as cursor:
        for statement in (*_of_database(connection, role), *_of_tables(connection, role)):
            cursor.execute(statement)


def _of_database(connection: Any, role: str) -> Iterator[str]:
    """Everybody may make temporary tables, unless told otherwise; until PostgreSQL 15 other tables too."""
    database = connection.ops.quote_name(connection.settings_dict["NAME"])
    yield f"REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC"
    yield f"GRANT CONNECT ON DATABASE {database} TO {role}"
    yield "REVOKE CREATE ON SCHEMA public FROM PUBLIC"
    yield f"GRANT USAGE ON SCHEMA public TO {role}"


def _of_tables(connection: Any, role: str) -> Iterator[str]:
    """Those that the next migration makes are granted as they are made, and put right when it is done."""
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
