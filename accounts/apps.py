"""Registers the app."""

from django.apps import AppConfig
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _


class AccountsConfig(AppConfig):
    """Users and how they log in."""

    name = "accounts"
    verbose_name = _("Accounts")

    def ready(self) -> None:
        """Set the roles of staff after each migrate, and add this app's tables to the data export."""
        from accounts import receivers  # noqa: F401  importing connects them
        from accounts.data_export import add_account_sections
        from accounts.staff import checks  # noqa: F401  importing registers them
        from accounts.staff.roles import sync_roles_after_migrate

        post_migrate.connect(sync_roles_after_migrate, sender=self, dispatch_uid="accounts.sync_roles")
        add_account_sections()
