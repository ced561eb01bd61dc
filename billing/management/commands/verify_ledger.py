"""`manage.py verify_ledger`: exit 0 when every credit is accounted for, 1 and a line per fault otherwise."""

import json
import sys
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand

from billing.ledger.verification.proofs import hash_heads, prove


class Command(BaseCommand):
    """Prove the ledger."""

    help = "Check that every wallet, hold and entry adds up. Exit status 1 and a line per fault otherwise."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """--json for machines, --since-last for the hourly run, --heads to compare with a log."""
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        parser.add_argument(
            "--since-last", action="store_true", help="only what is new since the last proof that found no fault"
        )

        parser.add_argument(
            "--heads",
            type=int,
            metavar="ENTRY",
            help="only print the hash of the heads up to this entry, to be compared with what the log of a night says",
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        """Run the checks and print what they found."""
        if options["heads"] is not None:
            self.stdout.write(hash_heads(options["heads"]))
            return
        report = prove(is_since_last=options["since_last"])
        if options["json"]:
            self.stdout.write(json.dumps(asdict(report)))
        else:
            for fault in report.faults:
                self.stdout.write(self.style.ERROR(fault))
            self.stdout.write(f"{len(report.faults)} faults in {report.entries} entries")
        if report.faults:
            sys.exit(1)
