"""Conversations in the admin: staff see metadata, but no messages."""

from django.contrib import admin

from chat.models import Conversation
from core.admin.base import ReadOnlyAdmin


@admin.register(Conversation)
class ConversationAdmin(ReadOnlyAdmin):
    """Only metadata. The title is left out, because it is the customer's text."""

    list_display = ("id", "user", "model", "created_at", "updated_at")
    list_filter = ("model", "created_at")
    search_fields = ("id", "user__email")
    fields = ("id", "user", "model", "created_at", "updated_at")
