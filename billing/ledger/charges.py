"""What one answer cost, for those who show it beside the answer."""

from dataclasses import dataclass

from django.db.models import OuterRef, Subquery, Sum

from billing.models import EntryKind, LedgerEntry


@dataclass(frozen=True, slots=True)
class Charge:
    """Microcredits: what was charged, and the balance right after it (or now, when nothing was).

    `limited_by` is what left room for fewer tokens than were asked for, empty for nothing (`HoldLimit`).
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
    """The query of a hold's charge, for a `LATERAL` of whoever knows the hold; its row makes a `Charge`.

    In SQL, since every answer of the API reads it (docs/adr/0010). Once the hold is settled this never changes, so that
    a repeated answer says the same.
    """
    return _CHARGE.format(usage=EntryKind.USAGE, hold=hold_column)


def refunded_of(hold: str) -> Subquery:
    """For `annotate`: what was refunded of a charge, in microcredits, None for nothing. `hold` leads to the hold."""
    refunds = LedgerEntry.objects.filter(kind=EntryKind.REFUND, hold=OuterRef(hold))
    return Subquery(refunds.order_by().values("hold").values(total=Sum("amount_microcredits")))
