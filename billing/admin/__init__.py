"""Money in the admin."""

from billing.admin import codes, refunds, tables, wallets

__all__ = ["codes", "refunds", "tables", "wallets"]
