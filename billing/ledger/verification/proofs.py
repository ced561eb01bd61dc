"""The stored proofs: each night one of everything, each hour one of what is new since the last without a fault.

A proof of what is new begins where the last proof without a fault ended. So a fault is reported every hour until it is
repaired, and the hourly work does not grow with the years.

The entries of a wallet form a hash chain (walls/entry_hash.sql). The owner of the tables could cut off the end of a
chain and make all other rows consistent with that. So a proof of everything logs one hash of the heads (the last
hashes) of all chains up to an entry. A copy that is kept elsewhere can be compared with `verify_ledger --heads ENTRY`
at any time. The proof itself compares the hashes of earlier nights.
"""

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.utils import timezone

from billing.ledger.verification.checks import Report, Window, verify
from billing.models import LedgerEntry, Proof

logger = logging.getLogger(__name__)

SETTLING = timedelta(minutes=10)  # longer than a transaction runs, and than clocks differ
MOST_KEPT_FAULTS = 100
NIGHTS_COMPARED = 30
LOCK = 0x7A11  # an advisory lock: only one proof runs at a time

# One hash over the last hash of each wallet up to an entry.
HEADS = """
SELECT COALESCE(encode(sha256(convert_to(string_agg(
    wallet_id || ' ' || id || ' ' || encode(chain_hash, 'hex'), ',' ORDER BY wallet_id), 'UTF8')), 'hex'), '')
FROM (SELECT DISTINCT ON (wallet_id) wallet_id, id, chain_hash FROM billing_ledgerentry WHERE id <= %s
      ORDER BY wallet_id, id DESC) heads"""


@transaction.atomic
def prove(*, is_since_last: bool = False) -> Report:
    """Verify everything, or what is new since the last proof without a fault; store and return what was found.

    If there is no such proof, everything is verified. Waits for a proof that is running. Each statement sees what is
    committed when it begins, as it would outside a transaction.
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
    """Return one SHA-256 over the last hash of each wallet up to and including an entry. No later entry changes it."""
    with connection.cursor() as cursor:
        cursor.execute(HEADS, [last_entry])
        return str(cursor.fetchone()[0])


def _find_other_heads() -> Iterator[str]:
    """Yield a line for each earlier night whose heads are different now.

    It compares the last night, and one of the NIGHTS_COMPARED nights before it, another one each day.
    """
    found = Proof.objects.filter(after_entry=None).exclude(heads_hash="").order_by("-started_at")
    nights = list(found[: NIGHTS_COMPARED + 1])
    earlier = nights[1:]
    in_turn = earlier[timezone.now().toordinal() % len(earlier) :][:1] if earlier else []
    for night in nights[:1] + in_turn:
        if hash_heads(night.last_entry) != night.heads_hash:
            yield f"proof {night.pk}: the heads of the ledger up to entry {night.last_entry} were others then"


def prove_and_shout(*, is_since_last: bool) -> None:
    """Run a proof and log each fault as critical, for alerting."""
    report = prove(is_since_last=is_since_last)
    for fault in report.faults:
        logger.critical("ledger fault: %s", fault)
    logger.info("the proof of %d entries found %d faults", report.entries, len(report.faults))


def _window_since_last() -> Window | None:
    last = Proof.objects.filter(faults_count=0).order_by("-started_at").first()
    return None if last is None else Window(last.last_entry, last.started_at - SETTLING)


def last_settled_entry(now: datetime) -> int:
    """Return the id of the last entry up to which no new entry can appear.

    Ids are assigned before the commit, so a transaction that is still running may add an entry with a lower id than
    others that are committed.
    """
    settled = LedgerEntry.objects.filter(created_at__lt=now - SETTLING).order_by("-pk")
    return settled.values_list("pk", flat=True).first() or 0
