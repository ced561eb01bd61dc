"""What one answer cost, for those who show it beside the answer."""

from dataclasses import dataclass
from uuid import UUID

from django.db import connection

from billing.models import EntryKind, Hold


@dataclass(frozen=True, slots=True)
class Charge:
    """Microcredits: what was charged, and the balance right after it (or now, when nothing was)."""

    charged_microcredits: int
    balance_microcredits: int


READ_CHARGE = """
SELECT COALESCE(-e.amount_microcredits, 0), COALESCE(e.balance_after_microcredits, w.balance_microcredits)
FROM billing_hold h JOIN billing_wallet w ON w.id = h.wallet_id
LEFT JOIN billing_ledgerentry e ON e.hold_id = h.id AND e.kind = %s
WHERE h.id = %s"""


def read_charge(*, hold_id: UUID) -> Charge:
    """The charge of a hold. Once it is settled this never changes, so that a repeated answer says the same.

    In SQL, since every answer of the API runs it (docs/adr/0010). Raises Hold.DoesNotExist.
    """
    with connection.cursor() as cursor:
        cursor.execute(READ_CHARGE, [EntryKind.USAGE, hold_id])
        row = cursor.fetchone()
    if row is None:
        raise Hold.DoesNotExist(f"there is no hold {hold_id}")
    return Charge(*row)
