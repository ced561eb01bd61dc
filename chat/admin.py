"""Conversations in the admin: when and how much, not what was said."""

from django.contrib import admin

from chat.models import Conversation
from core.admin.base import ReadOnlyAdmin


@admin.register(Conversation)
class ConversationAdmin(ReadOnlyAdmin):
    """Metadata alone; the title is the customer's words too."""

    list_display = ("id", "user", "model", "created_at", "updated_at")
    list_filter = ("model", "created_at")
    search_fields = ("id", "user__email")
    fields = ("id", "user", "model", "created_at", "updated_at")
