"""The only code that writes credits: open a wallet, grant, adjust, hold, settle, release, refund, expire.

Each function is one transaction that first locks the wallet row. If the process dies inside the transaction, PostgreSQL
rolls back all of it. If the process dies after the commit, a retry finds what was written and returns it.
"""

from billing.ledger.caps import MonthlyCapReached
from billing.ledger.credits import adjust, claw_back, expire_grants, give_back, grant
from billing.ledger.entries import IdempotencyConflict, InsufficientCredits, LedgerError
from billing.ledger.holds import CreditsOwed, HoldClosed, NoPrice, expire_holds, hold, hold_within, release
from billing.ledger.key_caps import KeyCapReached
from billing.ledger.refunds import RefundTooLarge, refund, refund_rest
from billing.ledger.settlements import charge_from_cache, settle, settle_within
from billing.ledger.wallets import lock_wallet, open_wallet, owed_microcredits

__all__ = [
    "CreditsOwed",
    "HoldClosed",
    "IdempotencyConflict",
    "InsufficientCredits",
    "KeyCapReached",
    "LedgerError",
    "MonthlyCapReached",
    "NoPrice",
    "RefundTooLarge",
    "adjust",
    "charge_from_cache",
    "claw_back",
    "expire_grants",
    "expire_holds",
    "give_back",
    "grant",
    "hold",
    "hold_within",
    "lock_wallet",
    "open_wallet",
    "owed_microcredits",
    "refund",
    "refund_rest",
    "release",
    "settle",
    "settle_within",
]
