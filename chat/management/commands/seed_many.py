"""`manage.py seed_many`: a development machine gets as many customers as a large site, for whoever looks at speed."""

import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connection, transaction

from accounts.models import User
from core.postgresql.roles import as_owner
from inference.catalogue import DEMO_KEY, seed_catalogue

STATEMENTS = Path(__file__).parents[1] / "seed_many.sql"
GROWN = (
    "accounts_user",
    "accounts_apikey",
    "accounts_auditevent",
    "account_emailaddress",
    "billing_wallet",
    "billing_topup",
    "billing_paymentevent",
    "billing_hold",
    "billing_ledgerentry",
    "billing_grant",
    "billing_grantuse",
    "billing_refund",
    "inference_generation",
    "chat_conversation",
)


class Command(BaseCommand):
    """Make customers and their entries by SQL, in one transaction, as the owner of the tables."""

    help = "Make very many customers with answers, entries and all that belongs to them (development settings only)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """How many."""
        parser.add_argument("--users", type=int, default=100_000)
        parser.add_argument("--entries", type=int, default=2_000_000, help="of the ledger: one a customer, and answers")

    def handle(self, *_args: Any, users: int, entries: int, **_options: Any) -> None:
        """Make them. Raises CommandError outside of development, and for fewer entries than users."""
        if not settings.DEMO:
            raise CommandError("Customers by the thousand are made under development settings only.")
        if not 1 <= users <= entries:
            raise CommandError("There is an entry for each user at least, and one user at least.")
        seed_catalogue()
        began = time.monotonic()
        name = f"many{User.objects.filter(email__startswith='many', email__endswith='-1@example.com').count()}"
        with as_owner(connection):
            with transaction.atomic(), connection.cursor() as cursor:
                for statement in _statements(cursor, users=users, answers=entries - users, name=name):
                    cursor.execute(statement)
            with connection.cursor() as cursor:
                cursor.execute(f"VACUUM (ANALYZE) {', '.join(GROWN)}")
        call_command("sum_usage")
        self.stdout.write(f"{users} customers and {entries} entries in {time.monotonic() - began:.0f} s.")


def _statements(cursor: Any, **values: Any) -> list[str]:
    """The statements of the file, without its comments, with these values."""
    cursor.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'billing_ledgerentry'::regclass AND attnum > 0"
        " AND NOT attisdropped ORDER BY attnum"
    )
    columns = [column for (column,) in cursor.fetchall()]
    of_row = ", ".join("NULL::bytea" if column == "chain_hash" else column for column in columns)
    values |= {
        "model": DEMO_KEY,
        "columns": ", ".join(column for column in columns if column != "chain_hash"),
        "row": f"ROW({of_row})::billing_ledgerentry",
    }
    lines = [line for line in STATEMENTS.read_text().splitlines() if not line.startswith("--")]
    text = "\n".join(lines)
    for field, value in values.items():
        text = text.replace(f"{{{field}}}", str(value))
    return [statement for statement in text.split(";\n") if statement.strip()]
