"""The proofs that are kept: each night one of everything, each hour one of what is new since the last without a fault.

A proof of what is new begins where the last one without a fault ended. So what is wrong is told every hour until it is
mended, and the work of an hour does not grow with the years.
"""

import logging
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.utils import timezone

from billing.models import LedgerEntry, Proof
from billing.verification import Report, Window, verify

logger = logging.getLogger(__name__)

SETTLING = timedelta(minutes=10)  # a transaction that was under way is over by then, and clocks differ by less
MOST_KEPT_FAULTS = 100
LOCK = 0x7A11  # one proof at a time, whoever asks for it


@transaction.atomic
def prove(*, is_since_last: bool = False) -> Report:
    """Verify everything, or what is new since the last proof without a fault, and keep what was found.

    Without such a proof, everything. Waits for a proof that is running. Each of its statements sees what is committed
    by then, as outside a transaction.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
    started_at = timezone.now()
    last_entry = _last_settled_entry(started_at)
    window = _window_since_last() if is_since_last else None
    report = verify(window)
    Proof.objects.create(
        after_entry=None if window is None else window.after_entry,
        last_entry=last_entry,
        entries_count=report.entries,
        faults_count=len(report.faults),
        first_faults=report.faults[:MOST_KEPT_FAULTS],
        started_at=started_at,
    )
    return report


def prove_and_shout(*, is_since_last: bool) -> None:
    """Prove, and log each fault for whoever watches."""
    report = prove(is_since_last=is_since_last)
    for fault in report.faults:
        logger.critical("ledger fault: %s", fault)
    logger.info("the proof of %d entries found %d faults", report.entries, len(report.faults))


def _window_since_last() -> Window | None:
    last = Proof.objects.filter(faults_count=0).order_by("-started_at").first()
    return None if last is None else Window(last.last_entry, last.started_at - SETTLING)


def _last_settled_entry(now: datetime) -> int:
    """The last entry before which every number is written or will never be. Numbers are given before the commit."""
    settled = LedgerEntry.objects.filter(created_at__lt=now - SETTLING).order_by("-pk")
    return settled.values_list("pk", flat=True).first() or 0
