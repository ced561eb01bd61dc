"""Registers the app and opens a wallet for every new user."""

from django.apps import AppConfig
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _


class BillingConfig(AppConfig):
    """Wallets, ledger, holds and prices."""

    name = "billing"
    verbose_name = _("Billing")

    def ready(self) -> None:
        """Connect the signals, add this app's tables to the data export, and register its checks of the ledger."""
        from billing import receivers  # noqa: F401
        from billing.data_export import add_billing_sections
        from billing.ledger.verification.checks import register_check
        from billing.ledger.verification.origins import find_deeds_without_event, find_entries_without_origin
        from billing.ledger.walls.privileges import grant_to_application
        from billing.topups.bonus_mailboxes import find_bonuses_without_mailbox

        add_billing_sections()
        register_check(find_bonuses_without_mailbox)
        register_check(find_entries_without_origin)
        register_check(find_deeds_without_event)
        post_migrate.connect(grant_to_application, sender=self)
