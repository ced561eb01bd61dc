"""The entries of the ledger as they come, for whoever adds up each of them exactly once.

An entry gets its id before its transaction commits. So a reader may see an entry before another one with a smaller id.
Up to an entry that was seen, all have come once every transaction has ended that was running when it was seen:
PostgreSQL's numbers of transactions tell when that is so. What came after is "open": it is read again the next time.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from django.db.models import QuerySet

from billing.models import EntryKind, LedgerEntry
from core import sql

USAGE = EntryKind.USAGE.value

# The last entry that is visible, the oldest transaction that is running, and the number of the next one to begin.
STANDING = """
SELECT COALESCE(MAX(id), 0), pg_snapshot_xmin(pg_current_snapshot())::text::bigint,
    pg_snapshot_xmax(pg_current_snapshot())::text::bigint FROM billing_ledgerentry"""


class NewEntry(NamedTuple):
    """One movement of credits. The other fields are of usage alone: its hold, and the row of its answer."""

    id: int
    kind: str
    amount_microcredits: int
    model_key: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    is_from_cache: bool | None
    state: str | None
    created_at: datetime | None
    started_at: datetime | None
    first_token_at: datetime | None
    last_token_at: datetime | None
    ended_at: datetime | None


COLUMNS = (
    "pk",
    "kind",
    "amount_microcredits",
    *(f"hold__{name}" for name in ("model_key", "prompt_tokens", "completion_tokens", "is_from_cache")),
    *(f"hold__generation__{name}" for name in NewEntry._fields[7:]),
)


@dataclass(frozen=True, slots=True)
class Place:
    """How far somebody has read: all entries up to `settled`.

    `seen` is an entry after it. Up to that, all have come once no transaction before number `transaction` is running.
    """

    settled: int = 0
    seen: int = 0
    transaction: int = 0


def read_settled(place: Place, most: int) -> tuple[list[NewEntry], Place]:
    """Return the entries after `place` that are settled now, the first `most` of them, and the place after them."""
    [[last_entry, oldest_transaction, next_transaction]] = sql.fetch_all(STANDING, [])
    if place.transaction > next_transaction:  # the database was restored elsewhere, and counts anew
        place = replace(place, transaction=next_transaction)
    if oldest_transaction < place.transaction:
        return [], place
    found = _read(LedgerEntry.objects.filter(pk__gt=place.settled, pk__lte=place.seen).order_by("pk")[:most])
    if len(found) == most:
        return found, replace(place, settled=found[-1].id)
    return found, Place(place.seen, last_entry, next_transaction)


def read_open(place: Place, most: int) -> list[NewEntry]:
    """Return the entries after `place` that are not settled: the first `most` of them."""
    return _read(LedgerEntry.objects.filter(pk__gt=place.settled).order_by("pk")[:most])


def _read(entries: QuerySet[LedgerEntry]) -> list[NewEntry]:
    return [NewEntry(*row) for row in entries.values_list(*COLUMNS)]
