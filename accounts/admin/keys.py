"""API keys and log-ins through the API in the admin, to read."""

from django.contrib import admin

from accounts.models import ApiKey, ApiSession
from core.admin.base import ReadOnlyAdmin


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnlyAdmin):
    """API keys by their start, without what could be used to guess them."""

    list_display = ("__str__", "user", "name", "created_at", "last_used_at", "expires_at", "revoked_at")
    list_filter = ("created_at", "last_used_at")
    list_select_related = ("user",)
    linked_lookups = ("user__exact",)
    exclude = ("secret_hash", "replaced_hash", "form_id")
    ordering = ("-pk",)


@admin.register(ApiSession)
class ApiSessionAdmin(ReadOnlyAdmin):
    """Log-ins of programs, without the ids of their tokens."""

    list_display = ("created_at", "user", "address", "user_agent", "refreshed_at", "expires_at", "revoked_at")
    list_filter = ("created_at",)
    list_select_related = ("user",)
    linked_lookups = ("user__exact",)
    exclude = ("refresh_id", "previous_refresh_id", "password_hash")
    ordering = ("-created_at",)
