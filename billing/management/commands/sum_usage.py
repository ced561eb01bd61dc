"""`manage.py sum_usage`: add new entries to the sums by day, which the workers do every ten minutes."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from billing.reporting.ledger_days import forget_days, sum_new_days
from billing.reporting.usage import forget_sums, sum_new_usage


class Command(BaseCommand):
    """Sum usage."""

    help = "Sum by day, for usage and reports, the entries of the ledger that came since the last time."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """--again repairs the sums, for instance when `verify_ledger` names a day."""
        parser.add_argument("--again", action="store_true", help="forget the sums and begin with the first entry")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Sum until nothing is left. Until then, usage and reports include entries that are not summed yet."""
        if options["again"]:
            forget_sums()
            forget_days()
        while sum_new_usage():
            pass
        while sum_new_days():
            pass
