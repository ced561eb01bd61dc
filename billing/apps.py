"""Registers the app and opens a wallet for every new user."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class BillingConfig(AppConfig):
    """Wallets, ledger, holds and prices."""

    name = "billing"
    verbose_name = _("Billing")

    def ready(self) -> None:
        """Connect the signals."""
        from billing import receivers  # noqa: F401
