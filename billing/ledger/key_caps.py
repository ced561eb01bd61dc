"""The monthly cap of an API key: what the key may still spend this calendar month (UTC).

The amount spent is counted as for a customer's own cap (`caps`), but only for the holds of one key.
"""

from collections.abc import Iterable

from django.db.models import Count, Max, Q, Sum

from accounts.models import ApiKey
from billing.ledger.caps import COUNT_ANEW_ENTRIES
from billing.ledger.entries import LedgerError
from billing.models import EntryKind, Hold, HoldState, KeySpending, LedgerEntry, Wallet
from core.days import first_moment, this_month


class KeyCapReached(LedgerError):
    """The monthly cap of the key does not cover the prompt and a useful answer. Nothing was held."""

    def __init__(self, *, room_microcredits: int, needed_microcredits: int) -> None:
        super().__init__(
            f"this key may spend {room_microcredits} more microcredits this month, {needed_microcredits} are needed"
        )
        self.room_microcredits = room_microcredits
        self.needed_microcredits = needed_microcredits


def key_cap_room_microcredits(api_key: ApiKey | None, wallet: Wallet) -> int | None:
    """Return the microcredits that this key may still hold this month, at least 0.

    This is the cap minus the key's active holds and minus its charges of this month, less refunds. The result is None,
    without a query, if there is no key or no cap. The caller has locked the wallet: every hold of a key is a hold of
    its user's wallet, so two simultaneous holds are decided one after the other. Three queries, whose work does not
    grow with the month: a new count is stored after every COUNT_ANEW_ENTRIES entries of the wallet.
    """
    if api_key is None or api_key.monthly_cap_microcredits is None:
        return None
    active = Hold.objects.filter(api_key=api_key, state=HoldState.ACTIVE)
    held = active.aggregate(total=Sum("amount_microcredits", default=0))["total"]
    return max(0, api_key.monthly_cap_microcredits - int(held) - _count_spent(api_key, wallet))


def read_spent_by_key(keys: Iterable[ApiKey]) -> dict[int, int]:
    """The microcredits that each key spent this calendar month (UTC), less refunds, by its id. One query.

    It reads all of the month's answers of these keys: it is for a page, not for every answer.
    """
    of_month = LedgerEntry.objects.filter(
        kind__in=[EntryKind.USAGE, EntryKind.REFUND],
        hold__api_key__in=[key.pk for key in keys],
        hold__closed_at__gte=first_moment(this_month()),
    )
    sums = of_month.order_by().values_list("hold__api_key").annotate(total=Sum("amount_microcredits"))
    return {key_id: -int(total) for key_id, total in sums}


def _count_spent(api_key: ApiKey, wallet: Wallet) -> int:
    """Return what this month's answers with the key cost, less refunds: the stored count plus the entries since."""
    month = this_month()
    kept = KeySpending.objects.filter(api_key=api_key).first() or KeySpending(api_key=api_key)
    of_month = Q(
        kind__in=[EntryKind.USAGE, EntryKind.REFUND],
        hold__api_key=api_key,
        hold__closed_at__gte=first_moment(month),
    )
    since = LedgerEntry.objects.filter(wallet=wallet, pk__gt=kept.counted_entry_id)
    found = since.aggregate(total=Sum("amount_microcredits", filter=of_month), entries=Count("pk"), last=Max("pk"))
    before = kept.counted_microcredits if kept.counted_month == month else 0
    spent = before - int(found["total"] or 0)
    if found["entries"] >= COUNT_ANEW_ENTRIES:
        count = {"counted_entry_id": found["last"], "counted_month": month, "counted_microcredits": spent}
        KeySpending.objects.update_or_create(api_key=api_key, defaults=count)
    return spent


def refuse_over_key_cap(room_microcredits: int | None, needed_microcredits: int) -> None:
    """Raise KeyCapReached if the room under the key's cap is less than what is needed. A room of None means no cap."""
    if room_microcredits is not None and room_microcredits < needed_microcredits:
        raise KeyCapReached(room_microcredits=room_microcredits, needed_microcredits=needed_microcredits)
