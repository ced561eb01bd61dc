"""The problem types with which the API answers billing's exceptions."""

from billing import adjustments, approvals, closing, ledger
from billing.ledger import price_changes
from billing.ledger.key_caps import KeyCapReached
from billing.refunds import requests
from billing.topups import code_tries, orders, promotions
from billing.topups.payments import PaymentError
from core.rest.problems import BY_STATUS, CONFLICT, IDEMPOTENCY_CONFLICT, REFUSED, Kind, explain

INSUFFICIENT = BY_STATUS[402]
OWED = Kind(402, "credits_owed", "Credits are owed", "Buy credits: what is owed is paid from them first.")
CAP_REACHED = Kind(
    402, "key_cap_reached", "The key's monthly cap is reached", "Use another key, or wait for the month."
)
MONTHLY_CAP_REACHED = Kind(
    402, "cap_reached", "Your monthly cap is reached", "Raise the cap, or wait for the next month."
)
NO_PRICE = Kind(503, "model_unavailable", "The model cannot answer here", "Choose another model.")
FORFEIT_CHANGED = Kind(409, "forfeit_changed", "Another amount would be given up", "GET /api/v1/account/closing again.")
PROVIDER = Kind(503, "payment_provider", "The payment provider cannot be reached", "Retry with the same key.")
OTHER_INPUTS = {"detail": "This Idempotency-Key was used before, with other inputs."}

explain(
    ledger.InsufficientCredits,
    INSUFFICIENT,
    lambda error: {
        "available_microcredits": error.available_microcredits,
        "needed_microcredits": error.needed_microcredits,
    },
)
explain(ledger.CreditsOwed, OWED, lambda error: {"owed_microcredits": error.owed_microcredits})
explain(
    KeyCapReached,
    CAP_REACHED,
    lambda error: {"room_microcredits": error.room_microcredits, "needed_microcredits": error.needed_microcredits},
)
explain(
    ledger.MonthlyCapReached,
    MONTHLY_CAP_REACHED,
    lambda error: {
        "cap_microcredits": error.cap_microcredits,
        "room_microcredits": error.room_microcredits,
        "needed_microcredits": error.needed_microcredits,
    },
)
explain(ledger.NoPrice, NO_PRICE, lambda _error: {"detail": NO_PRICE.title})
explain(ledger.HoldClosed, REFUSED)
explain(ledger.RefundTooLarge, REFUSED, lambda error: {"refundable_microcredits": error.refundable_microcredits})
explain(ledger.IdempotencyConflict, IDEMPOTENCY_CONFLICT, lambda _error: OTHER_INPUTS)
explain(orders.TopUpConflict, IDEMPOTENCY_CONFLICT, lambda _error: OTHER_INPUTS)
explain(
    closing.ForfeitChanged,
    FORFEIT_CHANGED,
    lambda error: {"forfeits_microcredits": error.forfeits_microcredits},
)
explain(closing.ClosingRefused, REFUSED)
explain(orders.InvalidAmount, REFUSED)
explain(promotions.InvalidCode, REFUSED)
explain(requests.RefundConflict, IDEMPOTENCY_CONFLICT, lambda _error: OTHER_INPUTS)
explain(requests.RefundRefused, REFUSED)
explain(approvals.OwnWallet, REFUSED)
explain(adjustments.AdjustmentRefused, REFUSED)
explain(promotions.ApprovalRefused, REFUSED)
explain(promotions.StockExists, IDEMPOTENCY_CONFLICT)
explain(promotions.CodeExists, CONFLICT)
explain(price_changes.PriceExists, CONFLICT)
explain(price_changes.PriceRefused, REFUSED)
explain(
    code_tries.TooManyTries,
    BY_STATUS[429],
    lambda error: {"wait_seconds": error.wait_seconds, "detail": "Too many codes were tried."},
)
explain(code_tries.CannotCount, BY_STATUS[503], lambda _error: {"detail": "Codes cannot be redeemed just now."})
explain(PaymentError, PROVIDER)
