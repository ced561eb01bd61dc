"""The charge of one answer, for code that shows it beside the answer."""

from dataclasses import dataclass
from uuid import UUID

from django.db.models import OuterRef, Subquery, Sum

from billing.models import EntryKind, LedgerEntry


@dataclass(frozen=True, slots=True)
class Charge:
    """Amounts in microcredits: the charge, and the balance right after it (or now, if nothing was charged).

    `limited_by` is the `HoldLimit` that left room for fewer tokens than were requested; it is empty if none did.
    """

    charged_microcredits: int
    balance_microcredits: int
    limited_by: str


_CHARGE = """
SELECT COALESCE(-e.amount_microcredits, 0), COALESCE(e.balance_after_microcredits, w.balance_microcredits),
    h.limited_by
FROM billing_hold h JOIN billing_wallet w ON w.id = h.wallet_id
LEFT JOIN billing_ledgerentry e ON e.hold_id = h.id AND e.kind = '{usage}'
WHERE h.id = {hold}"""


def charge_of(hold_column: str) -> str:
    """Return the SQL query of a hold's charge, for a `LATERAL` join; its row makes a `Charge`.

    `hold_column` is the SQL expression for the hold's id. This is SQL because every answer of the API reads it
    (docs/adr/0010). The row does not change once the hold is settled, so a repeated answer shows the same figures.
    """
    return _CHARGE.format(usage=EntryKind.USAGE, hold=hold_column)


def refunded_of(hold: str) -> Subquery:
    """Return a subquery for `annotate`: the microcredits refunded of a charge, or None if nothing was refunded.

    `hold` is the lookup path to the hold.
    """
    refunds = LedgerEntry.objects.filter(kind=EntryKind.REFUND, hold=OuterRef(hold))
    return Subquery(refunds.order_by().values("hold").values(total=Sum("amount_microcredits")))


def latest_charged_holds(entries: int) -> list[UUID]:
    """Return the holds of the latest charges of all customers, among so many of the ledger's last entries."""
    latest = LedgerEntry.objects.order_by("-pk").values_list("kind", "hold_id")[:entries]
    return [hold_id for kind, hold_id in latest if kind == EntryKind.USAGE and hold_id]
