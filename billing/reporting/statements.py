"""The statement of a month (UTC): opening balance, every movement, sums by kind, closing balance.

A month is a range of entry numbers: from its first entry to the last one before the next month's first. A wallet's
entries are numbered in the order they commit. So the lines of all months follow each other without a gap, and the
opening balance plus the lines is the closing balance, even if the clocks of several machines differ. The running month
ends at the latest entry.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from django.db.models import Count, QuerySet, Sum

from accounts.models import User
from billing.models import EntryKind, LedgerEntry
from billing.reporting.history import entries_of
from core.days import month_of, this_month


class NoStatement(Exception):
    """The month is in the future, or was over before the wallet had its first entry."""


@dataclass(frozen=True, slots=True)
class KindSum:
    """The movements of one kind in the month."""

    kind: EntryKind
    entries: int
    amount_microcredits: int


@dataclass(frozen=True, slots=True)
class Statement:
    """Amounts are in microcredits. `lines` is a query, the earliest entry first, and is never read as a whole."""

    month: date
    is_running: bool
    opening_microcredits: int
    sums: list[KindSum]
    lines: QuerySet[LedgerEntry]

    @property
    def closing_microcredits(self) -> int:
        """The balance at the end: the opening balance plus all movements."""
        return self.opening_microcredits + sum(of_kind.amount_microcredits for of_kind in self.sums)

    @property
    def lines_count(self) -> int:
        """How many movements there were."""
        return sum(of_kind.entries for of_kind in self.sums)


class MonthConverter:
    """A month in an address: 2026-11 is 1 November 2026."""

    regex = "[0-9]{4}-[0-9]{2}"

    def to_python(self, value: str) -> date:
        """Return the first day of the month. Raises ValueError, which becomes a 404, if the text is no month."""
        return date.fromisoformat(f"{value}-01")

    def to_url(self, value: date) -> str:
        """Return the month as it is written in an address."""
        return value.isoformat()[:7]


def months_of(user: User) -> Iterable[date]:
    """Return the months that have a statement, the latest first: from the first entry's month to the running one."""
    first = entries_of(user).order_by("pk").values_list("created_at", flat=True).first()
    earliest = min(month_of(first), this_month()) if first else this_month()
    month, months = this_month(), []
    while month >= earliest:
        months.append(month)
        month = (month - timedelta(days=1)).replace(day=1)
    return months


def make_statement(*, user: User, month: date) -> Statement:
    """Return the statement of the month that begins on this day. At most five queries. Raises NoStatement."""
    entries = entries_of(user).order_by("pk")
    running = this_month()
    first_id = _first_entry_id(entries, month)
    next_id = _first_entry_id(entries, _month_after(month)) if month < running else None
    before = entries if first_id is None else entries.filter(pk__lt=first_id)
    opening = before.order_by("-pk").values_list("balance_after_microcredits", flat=True).first()
    if month > running or (month < running and opening is None and first_id in {None, next_id}):
        raise NoStatement(f"{month:%Y-%m}")
    lines = _between(entries, first_id, next_id)
    return Statement(month, month == running, opening or 0, _sums(lines), lines)


def _first_entry_id(entries: QuerySet[LedgerEntry], month: date) -> int | None:
    """Return the number of the first entry in or after a month, or None."""
    in_it = entries.filter(created_at__gte=datetime.combine(month, time.min, UTC))
    return in_it.values_list("pk", flat=True).first()


def _between(entries: QuerySet[LedgerEntry], first_id: int | None, next_id: int | None) -> QuerySet[LedgerEntry]:
    """Return the entries from one number to before another. Without a second number, to the latest entry of now."""
    if first_id is None:
        return entries.none()
    if next_id is not None:
        return entries.filter(pk__gte=first_id, pk__lt=next_id)
    last_id = entries.order_by("-pk").values_list("pk", flat=True).first() or 0
    return entries.filter(pk__gte=first_id, pk__lte=last_id)


def _sums(lines: QuerySet[LedgerEntry]) -> list[KindSum]:
    found = lines.order_by("kind").values("kind").annotate(entries=Count("pk"), total=Sum("amount_microcredits"))
    return [KindSum(EntryKind(row["kind"]), row["entries"], int(row["total"])) for row in found]


def _month_after(month: date) -> date:
    return (month + timedelta(days=31)).replace(day=1)
