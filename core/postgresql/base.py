"""Django's PostgreSQL backend, with a pool that checks a connection's socket before use (docs/adr/0023).

Django's own check (CONN_HEALTH_CHECKS) queries the server. An answer takes a connection from the pool four times, so
that check would cost it four round trips.
"""

import select
from typing import Any

import psycopg
from django.db.backends.postgresql import base
from psycopg_pool import ConnectionPool

from core.postgresql.capacity import refuse_small_server
from core.postgresql.creation import DatabaseCreation
from core.postgresql.roles import refuse_might


class DatabaseWrapper(base.DatabaseWrapper):
    """Django requires this name."""

    creation_class = DatabaseCreation
    is_owner = False  # True while logged in as the owner (core.postgresql.roles)

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Return a live connection.

        Raises PoolTimeout, an OperationalError, while the server is away, and ImproperlyConfigured if the
        application's role has too many rights, or the server too few connections.
        """
        connection = super().get_new_connection(conn_params)
        while not is_alive(connection):
            connection.close()
            if self.pool is not None:
                self.pool.putconn(connection)  # the pool opens another one
            connection = super().get_new_connection(conn_params)
        if not self.is_owner:
            refuse_might(connection)
            refuse_small_server(connection)
        return connection


def is_alive(connection: "psycopg.Connection[Any]") -> bool:
    """Whether an unused connection still works.

    When a server ends, it closes the socket, which makes the socket readable. The server may also have sent a message,
    so a readable connection is tested with a query. A server that vanished without closing the socket is not noticed
    here: the next query fails, as a test query would.
    """
    if connection.closed:
        return False
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if not poll.poll(0):
        return True
    try:
        ConnectionPool.check_connection(connection)
    except psycopg.Error:
        return False
    return True
