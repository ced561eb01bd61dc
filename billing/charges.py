"""What one answer cost, for those who show it beside the answer."""

from dataclasses import dataclass
from uuid import UUID

from billing.models import EntryKind, Hold, LedgerEntry


@dataclass(frozen=True, slots=True)
class Charge:
    """Microcredits: what was charged, and the balance right after it (or now, when nothing was)."""

    charged_microcredits: int
    balance_microcredits: int


def read_charge(*, hold_id: UUID) -> Charge:
    """The charge of a hold. Once it is settled this never changes, so that a repeated answer says the same."""
    entry = LedgerEntry.objects.filter(hold_id=hold_id, kind=EntryKind.USAGE).first()
    if entry is not None:
        return Charge(-entry.amount_microcredits, entry.balance_after_microcredits)
    return Charge(0, Hold.objects.select_related("wallet").get(pk=hold_id).wallet.balance_microcredits)
