"""`manage.py migrate`, run as the owner of the tables if the settings name one."""

from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.core.management.commands import migrate
from django.db import connections

from core.postgresql.roles import as_owner


class Command(migrate.Command):
    """Django's own command with another log-in. Afterwards the application's role gets its rights on the new tables."""

    def handle(self, *args: Any, **options: Any) -> None:
        """Migrate. Raises CommandError if a restricted role is required and no owner is set."""
        if settings.DEMAND_RESTRICTED_ROLE and not settings.DATABASE_OWNER_URL:
            raise CommandError("Set DATABASE_OWNER_URL: the owner of the tables migrates (docs/database-roles.md).")
        with as_owner(connections[options["database"]]):
            super().handle(*args, **options)
