"""`manage.py report revenue --from 2026-10-01 --to 2026-10-31`: a report in the terminal, or as a file."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from monitoring.reports.catalogue import KINDS
from monitoring.reports.files import as_csv, as_json
from monitoring.reports.periods import PeriodRefused, read_period
from monitoring.reports.words import as_text

RECONCILED = ("revenue", "usage", "models")  # those that are compared with the ledger to the microcredit
FORMATS = {"text": as_text, "csv": as_csv, "json": as_json}


class Command(BaseCommand):
    """Print a report."""

    help = "Print a report: what was sold, used or went wrong from one day to another, in the reports' time zone."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Which report, of which days, and in which format."""
        parser.add_argument("name", choices=list(KINDS))
        parser.add_argument("--from", dest="first", default="", help="the first day, as 2026-01-31")
        parser.add_argument("--to", dest="last", default="", help="the last day, included; today unless you say")
        parser.add_argument("--format", dest="form", choices=list(FORMATS), default="text")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Print it. Exit status 1 if it does not reconcile, so that a script notices."""
        try:
            period = read_period(options["first"], options["last"])
        except PeriodRefused as refused:
            raise CommandError(f"--{refused.field}: {refused}") from refused
        made = KINDS[options["name"]].make(period)
        self.stdout.write(FORMATS[options["form"]](made))
        if made.name in RECONCILED and not made.proof.is_good:
            raise CommandError(made.proof.heading)
