"""The most a customer wants to spend in a calendar month (UTC). `ledger.hold` asks, under the wallet's lock.

Spent is what answers that ended this month were charged, less the refunds of those charges; what running answers
hold counts as if it were spent. So the cap holds whatever runs at the same time.
"""

from dataclasses import dataclass
from datetime import date

from django.db.models import Count, Max, Q, Sum

from accounts.models import User
from billing.ledger.entries import LedgerError
from billing.models import EntryKind, LedgerEntry, SpendingPreferences, Wallet
from core.days import first_moment, this_month

COUNT_ANEW_ENTRIES = 500  # since the last count, before the next one is kept: a hold never adds up more


class MonthlyCapReached(LedgerError):
    """The customer's own cap leaves no room for a useful answer. All figures in microcredits.

    `room` is what the cap leaves, `needed` the least that would do.
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
    """What a new hold may take under the cap; None without a cap, and then without a query. The wallet is locked.

    Below zero where the cap was lowered to less than was spent. Keeps the count when it has grown long; dying here
    loses only that, since the count is derived from the entries.
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
    """Raise MonthlyCapReached when the room under the cap, or None without one, is less than what is needed."""
    if room_microcredits is not None and room_microcredits < needed_microcredits:
        raise MonthlyCapReached(
            cap_microcredits=wallet.monthly_cap_microcredits or 0,
            room_microcredits=max(room_microcredits, 0),
            needed_microcredits=needed_microcredits,
        )


def read_room_microcredits(wallet: Wallet) -> int | None:
    """The same for a page: no lock, nothing kept, and true only at the moment it is read."""
    cap = wallet.monthly_cap_microcredits
    return None if cap is None else cap - count_spent(wallet).microcredits - wallet.held_microcredits


def count_spent(wallet: Wallet) -> MonthSpent:
    """What this month's answers cost, refunds taken off: the kept count and the entries since. Two queries."""
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
    """Let this customer spend at most so much in a calendar month, or as much as there is (None).

    One statement, which waits for a hold that is being made. What runs already is not stopped. Raises ValueError for
    less than 1.
    """
    if cap_microcredits is not None and cap_microcredits < 1:
        raise ValueError("a cap is at least a microcredit")
    Wallet.objects.filter(user=user).update(monthly_cap_microcredits=cap_microcredits)
