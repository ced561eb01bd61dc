"""Conversations in the admin: staff see metadata and how many answers were marked, but no messages."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from chat.models import Conversation, RatedModel, with_marks
from core.admin.base import ReadOnlyAdmin


@admin.register(Conversation)
class ConversationAdmin(ReadOnlyAdmin):
    """Only metadata. The title is left out, because it is the customer's text."""

    list_display = ("created_at", "user", "model", "updated_at", "id")
    list_filter = ("model", "created_at")
    search_fields = ("id", "user__email")
    list_select_related = ("user", "model")
    ordering = ("-created_at",)
    recent_by = "created_at"
    sortable_by = ()
    fields = ("id", "user", "model", "created_at", "updated_at")


@admin.register(RatedModel)
class RatedModelAdmin(ReadOnlyAdmin):
    """How many answers of each model customers marked as good and as bad; no text, and nobody's name."""

    list_display = ("name", "key", "good", "bad", "good_percent")
    fields = ("name", "key", "good", "bad", "good_percent")
    readonly_fields = ("good", "bad", "good_percent")
    ordering = ("position", "key")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """All models with their marks."""
        return with_marks(super().get_queryset(request))

    @admin.display(description=_("good"), ordering="good")
    def good(self, model: Any) -> int:
        """How many answers were marked as good."""
        return int(model.good)

    @admin.display(description=_("bad"), ordering="bad")
    def bad(self, model: Any) -> int:
        """How many answers were marked as bad."""
        return int(model.bad)

    @admin.display(description=_("good, of all marks"))
    def good_percent(self, model: Any) -> str:
        """The share of good marks; empty without marks."""
        marks = model.good + model.bad
        return f"{round(100 * model.good / marks)} %" if marks else ""
