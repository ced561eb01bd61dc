"""Django's PostgreSQL backend with a pool that looks at the socket before it gives a connection out (docs/adr/0023).

Its own check (CONN_HEALTH_CHECKS) asks the server: a round trip for each of the four times that an answer borrows one.
"""

import select
from typing import Any

import psycopg
from django.db.backends.postgresql import base
from psycopg_pool import ConnectionPool

from core.postgresql.creation import DatabaseCreation
from core.postgresql.roles import refuse_might


class DatabaseWrapper(base.DatabaseWrapper):
    """Named as Django wants it."""

    creation_class = DatabaseCreation
    is_owner = False  # while somebody migrates (core.postgresql.roles)

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """A connection that lives. Raises PoolTimeout, an OperationalError, while there is no server."""
        connection = super().get_new_connection(conn_params)
        while not is_alive(connection):
            connection.close()
            if self.pool is not None:
                self.pool.putconn(connection)  # which opens another one
            connection = super().get_new_connection(conn_params)
        if not self.is_owner:
            refuse_might(connection)
        return connection


def is_alive(connection: "psycopg.Connection[Any]") -> bool:
    """Whether a connection that nobody uses is still there.

    A server that ended has closed its socket, which makes it readable. Since a server may also have something to say,
    it is asked then. One that vanished without a word is found by the query that comes, as it would be by a question.
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
