"""The tables of money. Only billing imports them.

- `ledger`: wallets, prices, holds, entries and grants
- `topups`: how credits come in, and debts
- `spending`: what customers set
- `notices`: what customers were told
- `refunds` and `adjustments`: what staff asked for
- `mailboxes`: which mailboxes had the sign-up bonus
- `proofs`: what `verify_ledger` found
- `usage`: sums by day
"""

from billing.models.adjustments import Adjustment, AdjustmentState
from billing.models.ledger import (
    CONTRA_ACCOUNTS,
    CREDIT_KINDS,
    GRANT_KINDS,
    MICROCREDITS_PER_CREDIT,
    EntryKind,
    Grant,
    GrantUse,
    Hold,
    HoldLimit,
    HoldState,
    LedgerEntry,
    Price,
    Wallet,
)
from billing.models.ledger_days import LedgerDay, LedgerDaysMark
from billing.models.mailboxes import BonusMailbox
from billing.models.notices import Notice
from billing.models.proofs import Proof
from billing.models.refunds import Refund, RefundState
from billing.models.spending import AutomaticTopUp, KeySpending, SavedCard, SpendingPreferences
from billing.models.topups import (
    OPEN_STATES,
    Debt,
    DebtPayment,
    Package,
    PaymentEvent,
    PromotionCode,
    Redemption,
    TopUp,
    TopUpState,
)
from billing.models.usage import UsageDay, UsageMark

__all__ = [
    "CONTRA_ACCOUNTS",
    "CREDIT_KINDS",
    "GRANT_KINDS",
    "MICROCREDITS_PER_CREDIT",
    "OPEN_STATES",
    "Adjustment",
    "AdjustmentState",
    "AutomaticTopUp",
    "BonusMailbox",
    "Debt",
    "DebtPayment",
    "EntryKind",
    "Grant",
    "GrantUse",
    "Hold",
    "HoldLimit",
    "HoldState",
    "KeySpending",
    "LedgerDay",
    "LedgerDaysMark",
    "LedgerEntry",
    "Notice",
    "Package",
    "PaymentEvent",
    "Price",
    "PromotionCode",
    "Proof",
    "Redemption",
    "Refund",
    "RefundState",
    "SavedCard",
    "SpendingPreferences",
    "TopUp",
    "TopUpState",
    "UsageDay",
    "UsageMark",
    "Wallet",
]
