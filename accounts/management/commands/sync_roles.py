"""`manage.py sync_roles`: the groups support, finance and operator have just their permissions again."""

from typing import Any

from django.core.management.base import BaseCommand

from accounts.staff.roles import ROLES, sync_roles


class Command(BaseCommand):
    """Make or repair the roles of staff."""

    help = "Make the groups of staff and give them exactly the permissions of accounts/staff/roles.py."

    def handle(self, *_args: Any, **_options: Any) -> None:
        """Sync, and say what there is."""
        sync_roles()
        for role, permissions in ROLES.items():
            self.stdout.write(f"{role}: {len(permissions)} permissions")
