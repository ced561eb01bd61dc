"""Checks that PostgreSQL has as many connections as all processes of Tally together may open (docs/installation.md).

Every process keeps a pool. Too many pools work until the first busy hour: then a process gets no connection, while
others keep some that they do not use. Production refuses to start like this; elsewhere the log says it.
"""

import logging
from typing import Any

import psycopg
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

# Of the workers without models and of beat, each of which runs once: a connection a thread, and two for what each
# process does beside its tasks.
SIDE_CONNECTIONS = (4 + 2) + (2 + 2) + (1 + 2) + 2
SPARE_CONNECTIONS = 5  # for `migrate`, a backup, and a person who looks
LEAST_POOL = 4

# How many connections this role may have in this database.
LIMIT = """
SELECT least(
    current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
        - coalesce(current_setting('reserved_connections', true)::int, 0),
    CASE WHEN rolconnlimit >= 0 THEN rolconnlimit END,
    CASE WHEN datconnlimit >= 0 THEN datconnlimit END
) FROM pg_roles, pg_database WHERE rolname = current_user AND datname = current_database()"""

_has_been_checked = False


def pools() -> int:
    """The number of processes with a whole pool: web processes and GPU workers, on all machines."""
    count: int = settings.WEB_MACHINES * settings.WEB_WORKERS + settings.GPU_WORKERS
    return count


def needed() -> int:
    """The most connections that all processes may have open at one time."""
    pool_size: int = settings.DATABASE_POOL_SIZE
    return pools() * pool_size + SIDE_CONNECTIONS + SPARE_CONNECTIONS


def missing_connections(available: int) -> str:
    """What to do about a server that has `available` connections for Tally; empty if they are enough."""
    if needed() <= available:
        return ""
    fitting = (available - SIDE_CONNECTIONS - SPARE_CONNECTIONS) // pools()
    smaller = f"set DATABASE_POOL_SIZE to {fitting} or less, or " if fitting >= LEAST_POOL else ""
    return (
        f"PostgreSQL has {available} connections for Tally, and its processes may open {needed()}:"
        f" {settings.WEB_MACHINES} x {settings.WEB_WORKERS} web processes (WEB_MACHINES, WEB_WORKERS) and"
        f" {settings.GPU_WORKERS} GPU workers (GPU_WORKERS) with {settings.DATABASE_POOL_SIZE} each"
        f" (DATABASE_POOL_SIZE), and {SIDE_CONNECTIONS + SPARE_CONNECTIONS} others. To mend it, {smaller}let"
        f" PostgreSQL give it {needed() - available} more (max_connections, or a limit of the role or the database), or"
        " put PgBouncer in front of it (docs/installation.md)."
    )


def refuse_small_server(connection: "psycopg.Connection[Any]") -> None:
    """Look once in this process. Raises ImproperlyConfigured if connections are missing and that is refused here.

    Behind PgBouncer nothing is checked: it has a limit of its own, and makes the others wait for their turn.
    """
    global _has_been_checked
    if _has_been_checked or settings.PGBOUNCER:
        return
    with connection.transaction():
        row = connection.execute(LIMIT).fetchone()
    finding = missing_connections(row[0]) if row else ""
    if finding and settings.DEMAND_ENOUGH_CONNECTIONS:
        raise ImproperlyConfigured(finding)
    if finding:
        logging.getLogger(__name__).warning(finding)
    _has_been_checked = True
