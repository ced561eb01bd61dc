"""The data that billing keeps about a person, for the data export."""

from typing import Any

from accounts.data_export import Section, add_section
from billing.currencies import from_minor
from billing.models import Hold, LedgerEntry, Notice, Redemption, TopUp, Wallet


def add_billing_sections() -> None:
    """Add the sections for wallet, entries, holds, orders, notices and redeemed codes."""
    wallet = ("balance_microcredits", "held_microcredits", "created_at")
    entries = ("kind", "amount_microcredits", "balance_after_microcredits", "hold_id", "reason", "created_at")
    holds = ("state", "model_key", "prompt_tokens", "completion_tokens", "charged_microcredits", "created_at")
    topups = ("provider", "state", "amount_minor", "currency", "credits_microcredits", "bonus_microcredits", "paid_at")
    add_section(Section("wallet", lambda user: Wallet.objects.filter(user=user), wallet))
    add_section(Section("ledger_entries", lambda user: LedgerEntry.objects.filter(wallet__user=user), entries))
    add_section(Section("holds", lambda user: Hold.objects.filter(wallet__user=user), holds))
    add_section(Section("topups", lambda user: TopUp.objects.filter(user=user), topups, _with_amount))
    notices = ("name", "figures", "created_at", "read_at")
    add_section(Section("notices", lambda user: Notice.objects.filter(user=user), notices))
    codes = ("code__code", "created_at")
    add_section(Section("redemptions", lambda user: Redemption.objects.filter(wallet__user=user), codes))


def _with_amount(order: dict[str, Any]) -> dict[str, Any]:
    """The order with its price as people write it."""
    return order | {"amount": from_minor(order["amount_minor"], order["currency"])}
