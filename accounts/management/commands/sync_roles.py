"""`manage.py sync_roles`: resets the permissions of the groups support, finance and operator."""

from typing import Any

from django.core.management.base import BaseCommand

from accounts.staff.roles import ROLES, sync_roles


class Command(BaseCommand):
    """Make or repair the roles of staff."""

    help = "Make the groups of staff and give them exactly the permissions of accounts/staff/roles.py."

    def handle(self, *_args: Any, **_options: Any) -> None:
        """Reset the roles, and print their numbers of permissions."""
        sync_roles()
        for role, permissions in ROLES.items():
            self.stdout.write(f"{role}: {len(permissions)} permissions")
