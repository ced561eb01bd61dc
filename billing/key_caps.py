"""What an API key may still spend this calendar month (UTC)."""

from django.db.models import Q, Sum
from django.utils import timezone

from accounts.models import ApiKey
from billing.entries import LedgerError
from billing.models import EntryKind, Hold, HoldState, LedgerEntry


class KeyCapReached(LedgerError):
    """The monthly cap of the key does not cover the prompt and a useful answer. Nothing was held."""

    def __init__(self, *, room_microcredits: int, needed_microcredits: int) -> None:
        super().__init__(
            f"this key may spend {room_microcredits} more microcredits this month, {needed_microcredits} are needed"
        )
        self.room_microcredits = room_microcredits
        self.needed_microcredits = needed_microcredits


def key_cap_room_microcredits(api_key: ApiKey | None) -> int | None:
    """What this key may still hold this month: its cap without what its holds keep or were charged, refunds returned.

    None without a key or a cap, and then no query is made. Call it with the wallet locked: every hold of a key is a
    hold of its user's wallet, so two at once are decided one after the other. Two queries.
    """
    if api_key is None or api_key.monthly_cap_microcredits is None:
        return None
    month = timezone.now().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    holds = Hold.objects.filter(api_key=api_key)
    settled = Q(state=HoldState.SETTLED, closed_at__gte=month)
    sums = holds.filter(Q(state=HoldState.ACTIVE) | settled).aggregate(
        held=Sum("amount_microcredits", filter=Q(state=HoldState.ACTIVE), default=0),
        charged=Sum("charged_microcredits", filter=settled, default=0),
    )
    refunds = LedgerEntry.objects.filter(kind=EntryKind.REFUND, hold__in=holds.filter(settled))
    refunded = refunds.aggregate(total=Sum("amount_microcredits", default=0))["total"]
    return max(0, api_key.monthly_cap_microcredits - int(sums["held"]) - int(sums["charged"]) + int(refunded))


def refuse_over_key_cap(room_microcredits: int | None, needed_microcredits: int) -> None:
    """Raise KeyCapReached when the room under the key's cap, or None without one, is less than what is needed."""
    if room_microcredits is not None and room_microcredits < needed_microcredits:
        raise KeyCapReached(room_microcredits=room_microcredits, needed_microcredits=needed_microcredits)
