"""The marks of answers in the admin: how many of each model were good and bad, and no words."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from chat.models import RatedModel, with_marks
from core.admin.base import ReadOnlyAdmin


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
