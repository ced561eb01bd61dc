"""`manage.py migrate`, run as the owner of the tables if the settings name one, and by one process at a time."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.core.management.commands import migrate
from django.db import connections

from core.postgresql.roles import as_owner

LOCK = 0x7A12  # an advisory lock of the database
LOOK_SECONDS = 0.5


class Command(migrate.Command):
    """Django's own command with another log-in. Afterwards the application's role gets its rights on the new tables."""

    def handle(self, *args: Any, **options: Any) -> None:
        """Migrate. Raises CommandError if a restricted role is required and no owner is set."""
        if settings.DEMAND_RESTRICTED_ROLE and not settings.DATABASE_OWNER_URL:
            raise CommandError("Set DATABASE_OWNER_URL: the owner of the tables migrates (docs/database-roles.md).")
        connection = connections[options["database"]]
        with as_owner(connection), self._alone(connection):
            super().handle(*args, **options)

    @contextmanager
    def _alone(self, connection: Any) -> Iterator[None]:
        """Wait until no other process migrates this database. The lock goes with the connection if we are killed.

        It is asked for again and again, because a statement that waits for a lock would itself keep
        `CREATE INDEX CONCURRENTLY` in the other process waiting.
        """
        told = False
        while not _ask(connection, "SELECT pg_try_advisory_lock(%s)"):
            if not told:
                self.stdout.write("Another process migrates this database. This one goes on afterwards.")
                told = True
            time.sleep(LOOK_SECONDS)
        try:
            yield
        finally:
            if connection.is_usable():
                _ask(connection, "SELECT pg_advisory_unlock(%s)")


def _ask(connection: Any, question: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(question, [LOCK])
        return bool(cursor.fetchone()[0])
