"""Models and generations in the admin."""

from typing import Any, cast

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.models import User
from billing.templatetags.money import format_credits
from core.admin.base import ReadOnlyAdmin, StrictLookups
from core.admin.large_lists import LargeList
from inference.admin.forms import AddModelForm, ChangeModelForm
from inference.admin.releasing import ReleasePage
from inference.models import CatalogueModel, Generation
from inference.weights.new_models import add_model, change_model


@admin.register(CatalogueModel)
class CatalogueModelAdmin(StrictLookups):
    """The catalogue, with the reason where a model is unavailable. A new model is read from its files: `new_models`."""

    list_display = ("name", "key", "source", "is_active", "unavailable_reason", "position")
    readonly_fields = ("unavailable_reason",)

    def get_form(
        self, request: HttpRequest, obj: CatalogueModel | None = None, change: bool = False, **options: Any
    ) -> Any:
        """Adding a model has another form than changing one."""
        if obj is None:
            return AddModelForm
        return super().get_form(request, obj, change, form=ChangeModelForm, **options)

    def get_fieldsets(self, request: HttpRequest, obj: CatalogueModel | None = None) -> Any:
        """All fields of AddModelForm when a model is added, else the usual ones."""
        if obj is None:
            return [(None, {"fields": list(AddModelForm.base_fields)})]
        return super().get_fieldsets(request, obj)

    def get_readonly_fields(self, _request: HttpRequest, obj: CatalogueModel | None = None) -> Any:
        """The key of an existing model cannot be changed: prices, holds and queues refer to it."""
        return () if obj is None else ("key", *self.readonly_fields)

    def save_model(self, request: HttpRequest, obj: CatalogueModel, form: Any, change: bool) -> None:
        """Save through `new_models`, which also writes the audit log."""
        staff = cast("User", request.user)
        if change:
            change_model(model=obj, changed={name: form.cleaned_data[name] for name in form.changed_data}, by=staff)
        else:
            add_model(plan=form.plan, prices=None, by=staff)

    def log_addition(self, request: HttpRequest, obj: CatalogueModel, message: Any) -> Any:
        """Also tell the operator what is left to do: a price, then activation."""
        self.message_user(request, _("It is inactive: add a price version for it, then activate it."), messages.WARNING)
        return super().log_addition(request, obj, message)


@admin.register(Generation)
class GenerationAdmin(ReleasePage, LargeList, ReadOnlyAdmin):
    """The metadata of answers, without their text."""

    list_display = ("created_at", "user", "model", "state", "prompt_tokens", "completion_tokens", "credits", "id")
    list_filter = ("state", "model", "created_at")
    people, found_by = "user", ("id", "hold")
    ordering = ("-created_at", "-id")
    list_select_related = ("user", "model", "hold")
    linked_lookups = ("user__exact",)
    exclude = ("text", "prompt_token_ids")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Generation]:
        """All answers, without what was written."""
        return super().get_queryset(request).defer("text", "prompt_token_ids")

    @admin.display(description=gettext_lazy("credits"))
    def credits(self, row: Generation) -> str:
        """What it cost; empty until it has ended."""
        charged = row.hold.charged_microcredits
        return "" if charged is None else format_credits(charged)
