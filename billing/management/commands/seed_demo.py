"""`manage.py seed_demo`: the demo accounts of a development machine. Refused anywhere else."""

import json
from argparse import ArgumentParser
from typing import Any

from allauth.account.models import EmailAddress
from django.conf import settings
from django.contrib.auth.models import Group
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from accounts.models import User
from billing.topups.packages import seed_packages
from billing.topups.signup_bonus import give_signup_bonus

PASSWORD = "tally-demo-2026"  # noqa: S105  a development machine's, on loopback only
ROLES: dict[str, dict[str, bool]] = {
    "customer": {},
    "staff": {"is_staff": True, "is_superuser": True},
    "operator": {"is_staff": True},
}


class Command(BaseCommand):
    """Make the demo customer, staff and operator."""

    help = "Create the demo accounts (development settings only) and print their log-ins."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """--json for startup.py."""
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Create what is missing; leave what is there."""
        if not settings.DEMO:
            raise CommandError("Demo accounts exist only under development settings.")
        seed_packages()
        logins = {role: self._make(role, flags) for role, flags in ROLES.items()}
        if options["json"]:
            self.stdout.write(json.dumps(logins))
        else:
            for role, login in logins.items():
                self.stdout.write(f"{role}: {login['email']} / {login['password']}")

    @transaction.atomic
    def _make(self, role: str, flags: dict[str, bool]) -> dict[str, str]:
        email = f"{role}@example.com"
        user = User.objects.filter(email=email).first() or User.objects.create_user(email, PASSWORD, **flags)
        EmailAddress.objects.get_or_create(user=user, email=email, defaults={"verified": True, "primary": True})
        for group in Group.objects.filter(name=role):  # the operator of the demo gets the role of that name
            user.groups.add(group)
        give_signup_bonus(user=user, email=email)
        return {"email": email, "password": PASSWORD}
