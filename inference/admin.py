"""Models and generations in the admin."""

from django.contrib import admin

from accounts.admin_base import ReadOnlyAdmin
from inference.models import CatalogueModel, Generation


@admin.register(CatalogueModel)
class CatalogueModelAdmin(admin.ModelAdmin[CatalogueModel]):
    """What is sold, and why it is unavailable where it is."""

    list_display = ("name", "key", "source", "is_active", "unavailable_reason", "position")
    readonly_fields = ("unavailable_reason",)


@admin.register(Generation)
class GenerationAdmin(ReadOnlyAdmin):
    """Metadata of answers; not their text."""

    list_display = ("id", "created_at", "user", "model", "state", "prompt_tokens", "completion_tokens")
    list_filter = ("state", "model", "created_at")
    search_fields = ("id", "user__email")
    list_select_related = ("user", "model")
    exclude = ("text", "prompt_token_ids")
