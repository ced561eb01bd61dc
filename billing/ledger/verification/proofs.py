"""The proofs that are kept: each night one of everything, each hour one of what is new since the last without a fault.

A proof of what is new begins where the last one without a fault ended. So what is wrong is told every hour until it is
mended, and the work of an hour does not grow with the years.

The entries of a wallet form a chain (walls/entry_hash.sql). Whoever owns the tables can cut off its end and put all the
rest in order. So a proof of everything logs one hash of the heads of all chains up to an entry: kept elsewhere, it can
be compared with `verify_ledger --heads ENTRY` at any time. The proof itself compares those of earlier nights.
"""

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.utils import timezone

from billing.ledger.verification.checks import Report, Window, verify
from billing.models import LedgerEntry, Proof

logger = logging.getLogger(__name__)

SETTLING = timedelta(minutes=10)  # a transaction that was under way is over by then, and clocks differ by less
MOST_KEPT_FAULTS = 100
NIGHTS_COMPARED = 30
LOCK = 0x7A11  # one proof at a time, whoever asks for it

# The last hash of each wallet up to an entry, in one hash.
HEADS = """
SELECT COALESCE(encode(sha256(convert_to(string_agg(
    wallet_id || ' ' || id || ' ' || encode(chain_hash, 'hex'), ',' ORDER BY wallet_id), 'UTF8')), 'hex'), '')
FROM (SELECT DISTINCT ON (wallet_id) wallet_id, id, chain_hash FROM billing_ledgerentry WHERE id <= %s
      ORDER BY wallet_id, id DESC) heads"""


@transaction.atomic
def prove(*, is_since_last: bool = False) -> Report:
    """Verify everything, or what is new since the last proof without a fault, and keep what was found.

    Without such a proof, everything. Waits for a proof that is running. Each of its statements sees what is committed
    by then, as outside a transaction.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
    started_at = timezone.now()
    last_entry = last_settled_entry(started_at)
    window = _window_since_last() if is_since_last else None
    report = verify(window)
    heads_hash = ""
    if window is None:
        report.faults.extend(_find_other_heads())
        heads_hash = hash_heads(last_entry)
        logger.info("the heads of the ledger up to entry %d: %s", last_entry, heads_hash)
    Proof.objects.create(
        after_entry=None if window is None else window.after_entry,
        last_entry=last_entry,
        entries_count=report.entries,
        faults_count=len(report.faults),
        first_faults=report.faults[:MOST_KEPT_FAULTS],
        heads_hash=heads_hash,
        started_at=started_at,
    )
    return report


def hash_heads(last_entry: int) -> str:
    """One SHA-256 of the last hash of each wallet, up to an entry and with it: no later entry changes it."""
    with connection.cursor() as cursor:
        cursor.execute(HEADS, [last_entry])
        return str(cursor.fetchone()[0])


def _find_other_heads() -> Iterator[str]:
    """A line for a night whose heads are not what they were then: of the last one, and in turn of the thirty before."""
    found = Proof.objects.filter(after_entry=None).exclude(heads_hash="").order_by("-started_at")
    nights = list(found[: NIGHTS_COMPARED + 1])
    earlier = nights[1:]
    in_turn = earlier[timezone.now().toordinal() % len(earlier) :][:1] if earlier else []
    for night in nights[:1] + in_turn:
        if hash_heads(night.last_entry) != night.heads_hash:
            yield f"proof {night.pk}: the heads of the ledger up to entry {night.last_entry} were others then"


def prove_and_shout(*, is_since_last: bool) -> None:
    """Prove, and log each fault for whoever watches."""
    report = prove(is_since_last=is_since_last)
    for fault in report.faults:
        logger.critical("ledger fault: %s", fault)
    logger.info("the proof of %d entries found %d faults", report.entries, len(report.faults))


def _window_since_last() -> Window | None:
    last = Proof.objects.filter(faults_count=0).order_by("-started_at").first()
    return None if last is None else Window(last.last_entry, last.started_at - SETTLING)


def last_settled_entry(now: datetime) -> int:
    """The last entry before which every number is written or will never be. Numbers are given before the commit."""
    settled = LedgerEntry.objects.filter(created_at__lt=now - SETTLING).order_by("-pk")
    return settled.values_list("pk", flat=True).first() or 0
