"""`manage.py migrate`, as the owner of the tables where the settings name one."""

from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.core.management.commands import migrate
from django.db import connections

from core.postgresql.roles import as_owner


class Command(migrate.Command):
    """Django's own command under another log-in. What it made, the application's role is granted afterwards."""

    def handle(self, *args: Any, **options: Any) -> None:
        """Raises CommandError where a restricted role is demanded and nobody says who the owner is."""
        if settings.DEMAND_RESTRICTED_ROLE and not settings.DATABASE_OWNER_URL:
            raise CommandError("Set DATABASE_OWNER_URL: the owner of the tables migrates (docs/database-roles.md).")
        with as_owner(connections[options["database"]]):
            super().handle(*args, **options)
