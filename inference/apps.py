"""Registers the app and its part of the ledger's proof."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class InferenceConfig(AppConfig):
    """Models and generations."""

    name = "inference"
    verbose_name = _("Inference")

    def ready(self) -> None:
        """Add the checks of generations to `verify_ledger`."""
        from billing.verification import register_check
        from inference.verification import generations_match_their_holds

        register_check(generations_match_their_holds)
