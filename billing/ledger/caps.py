"""The monthly cap: the most a customer wants to spend in a calendar month (UTC). `ledger.hold` checks it.

The amount spent is the charges of the answers that ended this month, less the refunds of those charges. What is held
for running answers counts as spent too. The check runs under the wallet's lock, so answers that run at the same time
cannot exceed the cap together.
"""

from dataclasses import dataclass
from datetime import date

from django.db.models import Count, Max, Q, Sum

from accounts.models import User
from billing.ledger.entries import LedgerError
from billing.models import EntryKind, LedgerEntry, SpendingPreferences, Wallet
from core.days import first_moment, this_month

COUNT_ANEW_ENTRIES = 500  # entries since the stored count that trigger a new one: they bound the work of a hold


class MonthlyCapReached(LedgerError):
    """The customer's own cap leaves no room for a useful answer. All figures are in microcredits.

    `room_microcredits` is what the cap leaves, `needed_microcredits` the least that a useful answer needs.
    """

    def __init__(self, *, cap_microcredits: int, room_microcredits: int, needed_microcredits: int) -> None:
        super().__init__(
            f"the monthly cap of {cap_microcredits} microcredits leaves {room_microcredits}, not {needed_microcredits}"
        )
        self.cap_microcredits = cap_microcredits
        self.room_microcredits = room_microcredits
        self.needed_microcredits = needed_microcredits


@dataclass(frozen=True, slots=True)
class MonthSpent:
    """What was spent in the month, in microcredits, and how it was counted."""

    month: date
    microcredits: int
    last_entry_id: int
    entries_since_count: int


def cap_room_microcredits(wallet: Wallet) -> int | None:
    """Return the microcredits that a new hold may take under the cap, or None (without a query) if there is no cap.

    The caller has locked the wallet. The result is negative if the cap was lowered below what is already spent. When
    there are many entries since the stored count, this stores a new count. A crash here loses only that count, and the
    count can be derived from the entries again.
    """
    cap = wallet.monthly_cap_microcredits
    if cap is None:
        return None
    spent = count_spent(wallet)
    if spent.entries_since_count >= COUNT_ANEW_ENTRIES:
        SpendingPreferences.objects.change(
            wallet,
            counted_entry_id=spent.last_entry_id,
            counted_month=spent.month,
            counted_microcredits=spent.microcredits,
        )
    return cap - spent.microcredits - wallet.held_microcredits


def refuse_over_cap(wallet: Wallet, room_microcredits: int | None, needed_microcredits: int) -> None:
    """Raise MonthlyCapReached if the room under the cap is less than what is needed. A room of None means no cap."""
    if room_microcredits is not None and room_microcredits < needed_microcredits:
        raise MonthlyCapReached(
            cap_microcredits=wallet.monthly_cap_microcredits or 0,
            room_microcredits=max(room_microcredits, 0),
            needed_microcredits=needed_microcredits,
        )


def read_room_microcredits(wallet: Wallet) -> int | None:
    """Return the room under the cap for display, in microcredits, or None if there is no cap.

    It takes no lock and stores no count, so the figure is true only at the moment it is read.
    """
    cap = wallet.monthly_cap_microcredits
    return None if cap is None else cap - count_spent(wallet).microcredits - wallet.held_microcredits


def count_spent(wallet: Wallet) -> MonthSpent:
    """Return what this month's answers cost, less refunds: the stored count plus the entries since. Two queries."""
    month = this_month()
    kept = SpendingPreferences.objects.of(wallet)
    since = LedgerEntry.objects.filter(wallet=wallet, pk__gt=kept.counted_entry_id)
    of_month = Q(kind__in=[EntryKind.USAGE, EntryKind.REFUND], hold__closed_at__gte=first_moment(month))
    found = since.aggregate(total=Sum("amount_microcredits", filter=of_month), entries=Count("pk"), last=Max("pk"))
    before = kept.counted_microcredits if kept.counted_month == month else 0
    return MonthSpent(
        month=month,
        microcredits=before - (found["total"] or 0),
        last_entry_id=found["last"] or kept.counted_entry_id,
        entries_since_count=found["entries"],
    )


def set_cap(*, user: User, cap_microcredits: int | None) -> None:
    """Set the most that this customer may spend in a calendar month, in microcredits; None removes the cap.

    It is one statement, which waits for a hold that is being made. Running answers are not stopped. Raises ValueError
    for less than 1.
    """
    if cap_microcredits is not None and cap_microcredits < 1:
        raise ValueError("a cap is at least a microcredit")
    Wallet.objects.filter(user=user).update(monthly_cap_microcredits=cap_microcredits)
