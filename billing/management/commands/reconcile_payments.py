"""`manage.py reconcile_payments`: exit 0 when Stripe and we agree, 1 and a line per finding otherwise."""

import json
import sys
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from billing.stripe import reconciliation
from billing.topups.payments import PaymentError


class Command(BaseCommand):
    """Compare payments with Stripe."""

    help = "List payments that Stripe and Tally disagree about. Changes nothing. Exit status 1 if there are any."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """--days to look further back, --json for machines."""
        parser.add_argument("--days", type=int, default=reconciliation.DAYS, help="how far back to look")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Compare, and print what differs."""
        try:
            findings = reconciliation.reconcile(days=options["days"])
        except PaymentError as error:
            raise CommandError(str(error), returncode=2) from error
        if options["json"]:
            self.stdout.write(json.dumps({"findings": [asdict(finding) for finding in findings]}))
        else:
            for finding in findings:
                self.stdout.write(self.style.ERROR(str(finding)))
            self.stdout.write(f"{len(findings)} findings")
        if findings:
            sys.exit(1)
