"""Adjustments by staff."""

from uuid import uuid4

from billing import adjustments
from tests.support.cast import CREDIT

WAITING, DONE = "waiting", "done"


def adjust(by, user, amount_credits, key=None):
    return adjustments.adjust_credits(
        user=user,
        amount_microcredits=amount_credits * CREDIT,
        idempotency_key=key or str(uuid4()),
        reason="As agreed",
        by=by,
    )
