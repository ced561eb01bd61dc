"""Registers the app, and the admin's site."""

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig
from django.utils.translation import gettext_lazy as _


class BackofficeConfig(AppConfig):
    """What staff work with."""

    name = "backoffice"
    verbose_name = _("Back office")
    default = True

    def ready(self) -> None:
        """Connect the signals."""
        from backoffice import receivers  # noqa: F401


class TallyAdminConfig(AdminConfig):
    """Django's admin, with the pages of this app."""

    default_site = "backoffice.admin.site.TallyAdminSite"
    default = False
