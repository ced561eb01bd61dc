"""Money in the admin: everything can be read; of prices only a new version can be added.

Refunds are in `admin_refunds`, wallets in `admin_wallets`, promotion codes in `admin_codes`.
"""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from accounts.admin_base import ReadOnlyAdmin
from billing import admin_codes, admin_refunds, admin_wallets  # noqa: F401  they register their admins
from billing.models import Grant, LedgerEntry, Package, PaymentEvent, Price


@admin.register(LedgerEntry)
class LedgerEntryAdmin(ReadOnlyAdmin):
    """Every movement."""

    list_display = ("id", "created_at", "wallet", "kind", "amount_microcredits", "balance_after_microcredits")
    list_filter = ("kind", "created_at")
    search_fields = ("wallet__user__email", "idempotency_key", "hold__id")
    list_select_related = ("wallet",)


@admin.register(Price)
class PriceAdmin(admin.ModelAdmin[Price]):
    """Price versions: a new one is added, an old one stays as it was."""

    list_display = (
        "model_key",
        "prompt_microcredits_per_token",
        "completion_microcredits_per_token",
        "effective_at",
        "created_by",
    )
    list_filter = ("model_key",)
    exclude = ("created_by",)

    def has_change_permission(self, _request: HttpRequest, _obj: Price | None = None) -> bool:
        """A version is never edited."""
        return False

    def has_delete_permission(self, _request: HttpRequest, _obj: Price | None = None) -> bool:
        """A version is never deleted."""
        return False

    def save_model(self, request: HttpRequest, obj: Price, form: Any, change: bool) -> None:
        """Remember who set the price."""
        obj.created_by_id = request.user.pk
        super().save_model(request, obj, form, change)


@admin.register(Grant)
class GrantAdmin(ReadOnlyAdmin):
    """Where credit came from and what is left."""

    list_display = ("id", "wallet", "amount_microcredits", "remaining_microcredits", "expires_at")
    list_filter = ("expires_at", "entry__kind")
    search_fields = ("wallet__user__email",)
    list_select_related = ("wallet",)


@admin.register(Package)
class PackageAdmin(admin.ModelAdmin[Package]):
    """What customers can buy."""

    list_display = ("name", "price_minor", "currency", "credits_microcredits", "bonus_microcredits", "is_active")


@admin.register(PaymentEvent)
class PaymentEventAdmin(ReadOnlyAdmin):
    """What providers told us, as it came."""

    list_display = ("event_id", "provider", "type", "received_at", "processed_at", "error")
    list_filter = ("provider", "type", "received_at")
    search_fields = ("event_id",)
