"""The entries of the ledger as they come, for whoever adds up each of them exactly once.

An entry gets its id before its transaction commits. So a reader may see an entry before another one with a smaller id.
All entries up to one that was seen have come once every transaction has ended that had a number when it was seen: who
draws an id has locked the wallet before, and so has a number. What came after is "open": it is read again next time.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from django.db.models import QuerySet

from billing.models import EntryKind, LedgerEntry
from core import sql

USAGE = EntryKind.USAGE.value

# PostgreSQL gives a transaction its number only once it is needed, here: so all that were given before are smaller.
LAST_ENTRY = "SELECT COALESCE(MAX(id), 0), pg_current_xact_id()::text::bigint FROM billing_ledgerentry"
# The oldest transaction that is running, and a number that is greater than those of all that have ended.
RUNNING = """
SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint, pg_snapshot_xmax(pg_current_snapshot())::text::bigint"""


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


@dataclass(frozen=True, slots=True)
class LastEntry:
    """The last entry that was visible, and the number of the transaction that read it."""

    id: int
    transaction: int


def read_last() -> LastEntry:
    """Return the last entry. Call it first in a transaction: one that has a number already does not get a later one."""
    [[entry_id, transaction]] = sql.fetch_all(LAST_ENTRY, [])
    return LastEntry(entry_id, transaction)


def read_settled(place: Place, last: LastEntry, most: int) -> tuple[list[NewEntry], Place]:
    """Return the entries after `place` that are settled now, the first `most` of them, and the place after them.

    `place` may be of a later moment than `last`, if somebody else has read in between.
    """
    [[oldest_running, after_ended]] = sql.fetch_all(RUNNING, [])
    if place.transaction > after_ended:  # the database was restored elsewhere, and counts anew
        place = replace(place, transaction=last.transaction)
    if oldest_running < place.transaction:
        return [], place
    found = _read(LedgerEntry.objects.filter(pk__gt=place.settled, pk__lte=place.seen).order_by("pk")[:most])
    if len(found) == most:
        return found, replace(place, settled=found[-1].id)
    return found, Place(place.seen, max(place.seen, last.id), last.transaction)


def read_open(place: Place, most: int) -> list[NewEntry]:
    """Return the entries after `place` that are not settled: the first `most` of them."""
    return _read(LedgerEntry.objects.filter(pk__gt=place.settled).order_by("pk")[:most])


def _read(entries: QuerySet[LedgerEntry]) -> list[NewEntry]:
    return [NewEntry(*row) for row in entries.values_list(*COLUMNS)]
