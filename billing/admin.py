"""Money in the admin: everything can be read; only a new price version can be added. Refunds: `admin_refunds`."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy

from accounts.admin_base import ReadOnlyAdmin
from billing import admin_refunds  # noqa: F401  registers its admins
from billing.models import Grant, LedgerEntry, Package, PaymentEvent, Price, PromotionCode, Wallet


@admin.register(Wallet)
class WalletAdmin(ReadOnlyAdmin):
    """Balances."""

    list_display = ("user", "balance_microcredits", "held_microcredits", "created_at")
    search_fields = ("user__email",)
    list_select_related = ("user",)


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


@admin.register(PromotionCode)
class PromotionCodeAdmin(admin.ModelAdmin[PromotionCode]):
    """Codes and how often they were used; a used one stays."""

    list_display = ("code", "credits_microcredits", "redemptions_count", "most_redemptions", "ends_at", "batch")
    list_filter = ("is_active", "batch")
    search_fields = ("code", "batch")
    actions = ("export_csv",)

    @admin.action(description=gettext_lazy("Export the codes as CSV"))
    def export_csv(self, _request: HttpRequest, chosen: QuerySet[PromotionCode]) -> HttpResponse:
        """The chosen codes, one a line."""
        lines = ["code,credits_microcredits,redemptions"]
        lines += [f"{code.code},{code.credits_microcredits},{code.redemptions_count}" for code in chosen]
        response = HttpResponse("\n".join(lines) + "\n", content_type="text/csv")
        response["Content-Disposition"] = 'attachment; filename="codes.csv"'
        return response


@admin.register(PaymentEvent)
class PaymentEventAdmin(ReadOnlyAdmin):
    """What providers told us, as it came."""

    list_display = ("event_id", "provider", "type", "received_at", "processed_at", "error")
    list_filter = ("provider", "type", "received_at")
    search_fields = ("event_id",)
