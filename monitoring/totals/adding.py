"""Adds up what happened since the last time, each answer and each entry of the ledger exactly once (docs/adr/0047).

Nothing is counted while an answer is settled. What was charged has an entry in the ledger, and its times are in its
row; both are read after the fact. So no count is lost with a process that is killed, the totals agree with the ledger,
and customers do not notice if these tables are locked.

Entries that are settled are added to the totals. The few that came since are read anew each time, on top of them. The
same is done with answers that ended without a charge, which have no entry and are found by the time of their end.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from django.db import transaction
from django.utils import timezone

from billing.reporting.new_entries import USAGE, LastEntry, NewEntry, Place, read_last, read_open, read_settled
from core import sql
from monitoring.models import Total, TotalsMark
from monitoring.totals.metrics import (
    ANSWERS,
    CREDITS,
    ENTRIES,
    FIRST_TOKEN,
    OUTPUT_TOKEN,
    QUEUE_WAIT,
    REQUEST_DURATION,
    TOKEN_USAGE,
    Sum,
    Sums,
)

logger = logging.getLogger(__name__)

MOST_ENTRIES = 5_000  # added up in one transaction: a tenth of a second of work
MOST_OPEN = 20_000  # more are there only if a transaction runs for minutes, or nothing was added up for long
SETTLING = timedelta(minutes=10)  # longer than a transaction runs, and than clocks differ
STATEMENT_MILLISECONDS = 2_000
LOCK_MILLISECONDS = 1_000
BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)  # before the first answer

# The states are written out, so that every plan can use the partial index.
UNCHARGED = """
SELECT model_id, state, width_bucket(seconds, %s::float8[]), COUNT(*), SUM(round(seconds * 1000000))::bigint FROM (
    SELECT model_id, state, GREATEST(0, EXTRACT(epoch FROM ended_at - created_at))::float8 AS seconds
    FROM inference_generation WHERE state IN ('cancelled', 'failed') AND ended_at >= %s AND ended_at < %s
) ended GROUP BY 1, 2, 3"""


@contextmanager
def limited_transaction() -> Iterator[None]:
    """A transaction whose statements are given up after a short time, also if they wait for a lock."""
    with transaction.atomic():
        limits = [str(STATEMENT_MILLISECONDS), str(LOCK_MILLISECONDS)]
        sql.fetch_one("SELECT set_config('statement_timeout', %s, true), set_config('lock_timeout', %s, true)", limits)
        yield


def add_up() -> bool:
    """Add what is settled to the totals, MOST_ENTRIES at most. Returns whether there is more. Raises DatabaseError."""
    with limited_transaction():
        last = read_last()
        return _add_settled(_lock_mark(), last)[1]


def read_totals() -> Sums | None:
    """Add what is settled, and return all totals as they are now. Raises DatabaseError.

    Returns None while there is more to add, as after an upgrade: then the totals still lack a part of the past, and
    would grow faster than anything happened.
    """
    with limited_transaction():
        last = read_last()
        mark = _lock_mark()  # until the end: nobody moves anything into the totals between the reads
        place, has_more = _add_settled(mark, last)
        entries = [] if has_more else read_open(place, MOST_OPEN)
        if has_more or len(entries) == MOST_OPEN:
            return None
        sums = Sums()
        for row in Total.objects.all():
            sums.add((row.name, tuple(row.labels)), Sum(row.amount, row.total, row.buckets))
        _count_entries(sums, entries)
        _count_uncharged(sums, mark.uncharged_until or BEGINNING, timezone.now() + SETTLING)
        return sums


def owned_microcredits(sums: Sums) -> int:
    """What came into all wallets and did not leave them: the sum of all entries, which is that of all balances."""
    moved = [(labels[1], series.amount) for (name, labels), series in sums.series.items() if name == CREDITS.name]
    return sum(amount if direction == "in" else -amount for direction, amount in moved)


def _lock_mark() -> TotalsMark:
    return TotalsMark.objects.select_for_update().get_or_create(pk=1)[0]


def _add_settled(mark: TotalsMark, last: LastEntry) -> tuple[Place, bool]:
    """Add what is settled. Returns the place after it, and whether there is more."""
    sums = Sums()
    entries, place = read_settled(Place(mark.settled, mark.seen, mark.transaction), last, MOST_ENTRIES)
    _count_entries(sums, entries)
    horizon = timezone.now() - SETTLING
    if mark.uncharged_until is None or horizon > mark.uncharged_until:
        _count_uncharged(sums, mark.uncharged_until or BEGINNING, horizon)
        mark.uncharged_until = horizon
    _save(sums)
    mark.settled, mark.seen, mark.transaction = place.settled, place.seen, place.transaction
    mark.added_at = timezone.now()
    mark.save()
    return place, len(entries) == MOST_ENTRIES


def _count_entries(sums: Sums, entries: list[NewEntry]) -> None:
    for entry in entries:
        sums.count(ENTRIES, (entry.kind,))
        direction = "in" if entry.amount_microcredits > 0 else "out"
        sums.count(CREDITS, (entry.kind, direction), abs(entry.amount_microcredits))
        if entry.kind == USAGE:
            _count_charge(sums, entry)


def _count_charge(sums: Sums, entry: NewEntry) -> None:
    model_key = entry.model_key or ""
    sums.observe(TOKEN_USAGE, (model_key, "input"), entry.prompt_tokens or 0)
    sums.observe(TOKEN_USAGE, (model_key, "output"), entry.completion_tokens or 0)
    if entry.created_at is None or entry.ended_at is None:
        return  # a charge without an answer, which only the tests of the ledger make
    sums.count(ANSWERS, (model_key, "cached" if entry.is_from_cache else entry.state or ""))
    sums.observe(REQUEST_DURATION, (model_key, ""), (entry.ended_at - entry.created_at).total_seconds())
    if entry.started_at is not None:
        sums.observe(QUEUE_WAIT, (model_key,), (entry.started_at - entry.created_at).total_seconds())
    if entry.first_token_at is None or entry.last_token_at is None:
        return
    sums.observe(FIRST_TOKEN, (model_key,), (entry.first_token_at - entry.created_at).total_seconds())
    tokens_after_the_first = (entry.completion_tokens or 0) - 1
    if tokens_after_the_first > 0:
        writing_seconds = (entry.last_token_at - entry.first_token_at).total_seconds()
        sums.observe(OUTPUT_TOKEN, (model_key,), writing_seconds / tokens_after_the_first)


def _count_uncharged(sums: Sums, since: datetime, until: datetime) -> None:
    """Count the answers that failed or were cancelled from one moment to before another."""
    for model_key, state, bucket, count, microseconds in sql.fetch_all(
        UNCHARGED, [list(REQUEST_DURATION.bounds), since, until]
    ):
        sums.count(ANSWERS, (model_key, state), count)
        sums.observe_many(REQUEST_DURATION, (model_key, state), bucket, count, microseconds)


def _save(sums: Sums) -> None:
    """Add these sums to the rows of their series. The caller holds the lock of the mark."""
    names = {name for name, _labels in sums.series}
    rows = {(row.name, tuple(row.labels)): row for row in Total.objects.filter(name__in=names)}
    for (name, labels), more in sums.series.items():
        row = rows.setdefault((name, labels), Total(name=name, labels=list(labels), buckets=[0] * len(more.buckets)))
        row.amount += more.amount
        row.total += more.total
        row.buckets = [mine + new for mine, new in zip(row.buckets, more.buckets, strict=True)]
    changing = ["amount", "total", "buckets"]
    Total.objects.bulk_create(
        [rows[key] for key in sums.series],
        update_conflicts=True,
        unique_fields=["name", "labels"],
        update_fields=changing,
    )
