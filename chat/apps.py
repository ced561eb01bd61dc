"""Registers the app."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ChatConfig(AppConfig):
    """Conversations and messages."""

    name = "chat"
    verbose_name = _("Chat")

    def ready(self) -> None:
        """Connect the signals, and add this app's tables to the data export."""
        from accounts.data_export import Section, add_section
        from chat import receivers  # noqa: F401
        from chat.models import Conversation, Message, SavedPrompt, SharedLink

        talks = ("title", "model_id", "created_at", "updated_at", "pinned_at", "archived_at", "deleted_at")
        add_section(Section("conversations", lambda user: Conversation.objects.filter(user=user), talks))
        messages = ("conversation_id", "role", "text", "generation_id", "imported_from", "created_at")
        add_section(Section("messages", lambda user: Message.objects.filter(conversation__user=user), messages))
        links = ("conversation_id", "title", "created_at", "expires_at", "revoked_at")
        add_section(Section("shared_links", lambda user: SharedLink.objects.filter(conversation__user=user), links))
        prompts = ("name", "text", "created_at", "updated_at")
        add_section(Section("saved_prompts", lambda user: SavedPrompt.objects.filter(user=user), prompts))
