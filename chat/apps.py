"""Registers the app."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ChatConfig(AppConfig):
    """Conversations and messages."""

    name = "chat"
    verbose_name = _("Chat")

    def ready(self) -> None:
        """Connect the signals."""
        from chat import receivers  # noqa: F401
