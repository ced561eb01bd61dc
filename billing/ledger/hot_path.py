"""The two calls that every paid answer makes: its hold and its settlement, one statement each (docs/adr/0024).

The SQL functions are in `walls/place_hold.sql` and `walls/settle_hold.sql`. They handle only the ordinary case. In any
other case they change nothing, and `billing.ledger` does the work through the ORM. Only `billing.ledger` uses this
module.
"""

from datetime import datetime
from uuid import UUID

from billing.models import Hold, Wallet
from core import sql

PLACE_HOLD = "SELECT {hold} FROM billing_place_hold(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) h"
SETTLE_HOLD = "SELECT {hold}, {wallet} FROM billing_settle_hold(%s, %s, %s) s"


def place_hold(user_id: int, draft: Hold, room_microcredits: int | None = None) -> Hold | None:
    """Hold the draft's worst-case cost at the current prices and return the hold.

    Outside the ordinary case, changes nothing and returns None. A wallet with a monthly cap is an ordinary case only if
    the caller has locked it and passes `room_microcredits`: how much may still be spent under all caps.
    """
    statement = PLACE_HOLD.format(hold=sql.columns(Hold, "h"))
    row = sql.fetch_one(
        statement,
        [
            user_id,
            draft.pk,
            draft.reference,
            draft.model_key,
            draft.prompt_tokens,
            draft.max_completion_tokens,
            draft.api_key_id,
            room_microcredits,
            draft.created_at,
            draft.expires_at,
        ],
    )
    return None if row is None else sql.instance(Hold, row)


def settle_hold(hold_id: UUID, completion_tokens: int, now: datetime) -> Hold | None:
    """Close an active hold with its charge, and write the usage entry and its uses of grants.

    Returns the hold with its wallet, both as they are now. Outside the ordinary case, changes nothing and returns None.
    """
    statement = SETTLE_HOLD.format(hold=sql.columns(Hold, "(s.hold)"), wallet=sql.columns(Wallet, "(s.wallet)"))
    row = sql.fetch_one(statement, [hold_id, completion_tokens, now])
    if row is None:
        return None
    settled = sql.instance(Hold, row[: sql.width(Hold)])
    settled.wallet = sql.instance(Wallet, row[sql.width(Hold) :])
    return settled
