"""Registers the app and opens a wallet for every new user."""

from django.apps import AppConfig
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _


class BillingConfig(AppConfig):
    """Wallets, ledger, holds and prices."""

    name = "billing"
    verbose_name = _("Billing")

    def ready(self) -> None:
        """Connect the signals, and add this app's tables to the data export."""
        from billing import receivers  # noqa: F401
        from billing.data_export import add_billing_sections
        from billing.privileges import grant_to_application

        add_billing_sections()
        post_migrate.connect(grant_to_application, sender=self)
