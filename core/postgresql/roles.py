"""The two PostgreSQL roles: the owner migrates, the application runs as a role that owns nothing (docs/adr/0028).

DATABASE_URL is the application's log-in, DATABASE_OWNER_URL the owner's. If only the first is set, one role does both,
and the protections that need a restricted role are missing. Production refuses to run so.
"""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError
from environ import Env

_LOG_IN = ("USER", "PASSWORD", "HOST", "PORT")

# Finds the rights that the application's role must not have, itself or through a role that it is a member of. The query
# looks at the session's user, which SET ROLE does not change.
_MIGHT = """
WITH tables AS (
    SELECT oid, relowner FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
), me AS (SELECT * FROM pg_roles WHERE rolname = session_user)
SELECT might FROM me, (VALUES
    ('is a superuser', (SELECT rolsuper FROM me)),
    ('may make roles', (SELECT rolcreaterole FROM me)),
    ('owns the database', (SELECT pg_has_role(session_user, datdba, 'MEMBER') FROM pg_database
                           WHERE datname = current_database())),
    ('owns tables', EXISTS (SELECT FROM tables WHERE pg_has_role(session_user, relowner, 'MEMBER'))),
    ('may make tables and functions', has_schema_privilege(session_user, 'public', 'CREATE')),
    ('may make temporary tables', has_database_privilege(session_user, current_database(), 'TEMPORARY')),
    ('may empty tables or give them triggers', EXISTS (
        SELECT FROM tables WHERE has_table_privilege(session_user, oid, 'TRUNCATE, TRIGGER'))),
    ('may change balances', EXISTS (
        SELECT FROM tables JOIN pg_attribute ON attrelid = oid
        WHERE attname = 'balance_microcredits' AND has_column_privilege(session_user, oid, attnum, 'UPDATE')))
) reasons (might, is_so) WHERE is_so"""

_has_been_checked = False


@contextmanager
def as_owner(connection: Any) -> Iterator[None]:
    """Log this Django connection in as the owner inside the `with` block, if DATABASE_OWNER_URL is set.

    Do not use it within a transaction.
    """
    if not settings.DATABASE_OWNER_URL:
        yield
        return
    owner = Env.db_url_config(settings.DATABASE_OWNER_URL)
    before = {name: connection.settings_dict[name] for name in _LOG_IN}
    was_owner, connection.is_owner = connection.is_owner, True
    _log_in(connection, {name: owner.get(name, "") for name in _LOG_IN})
    try:
        yield
    finally:
        _log_in(connection, before)
        connection.is_owner = was_owner


def _log_in(connection: Any, login: dict[str, Any]) -> None:
    connection.close()
    if connection.pool is not None:  # the pool would keep using the other role's connections
        connection.close_pool()
    connection.settings_dict.update(login)


def might_of(connection: "psycopg.Connection[Any]") -> list[str]:
    """The rights of this connection's role that the application must not have; empty for a restricted role."""
    with connection.transaction():
        return [might for (might,) in connection.execute(_MIGHT)]


def refuse_might(connection: "psycopg.Connection[Any]") -> None:
    """Raise ImproperlyConfigured if the application's role has rights that it must not have.

    Only with DEMAND_RESTRICTED_ROLE. A role that passes is not checked again in this process: rights rarely change.
    """
    global _has_been_checked
    if _has_been_checked or not settings.DEMAND_RESTRICTED_ROLE:
        return
    might = might_of(connection)
    if might:
        raise ImproperlyConfigured(
            f"The role of DATABASE_URL, {connection.info.user}, {', '.join(might)}. Tally does not run as such a role."
            " Name one there that owns nothing, and the owner of the tables in DATABASE_OWNER_URL for `manage.py"
            " migrate`, which grants the other what it needs (docs/database-roles.md)."
        )
    _has_been_checked = True


def refuse_to_start_with_might() -> None:
    """Log in when this process starts. Raises ImproperlyConfigured if its role has too many rights.

    While PostgreSQL is away this passes; the first connection checks the role then.
    """
    if settings.DEMAND_RESTRICTED_ROLE:
        with ThreadPoolExecutor(max_workers=1) as executor:  # the web server imports this in its event loop
            executor.submit(_connect_once).result()


def _connect_once() -> None:
    from django.db import connection

    try:
        connection.ensure_connection()
    except OperationalError as error:
        logging.getLogger(__name__).warning("PostgreSQL is away; its role is looked at later: %s", error)
    finally:
        connection.close()
