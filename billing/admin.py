"""Money in the admin: everything can be read; only a new price version can be added."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from billing.models import Hold, LedgerEntry, Price, Wallet


class ReadOnlyAdmin(admin.ModelAdmin[Any]):
    """Rows that the ledger alone writes."""

    def has_add_permission(self, _request: HttpRequest) -> bool:
        """Nobody adds them here."""
        return False

    def has_change_permission(self, _request: HttpRequest, _obj: Any = None) -> bool:
        """Nobody changes them here."""
        return False

    def has_delete_permission(self, _request: HttpRequest, _obj: Any = None) -> bool:
        """Nobody deletes them anywhere."""
        return False


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


@admin.register(Hold)
class HoldAdmin(ReadOnlyAdmin):
    """What is and was set aside."""

    list_display = ("id", "created_at", "wallet", "state", "amount_microcredits", "charged_microcredits")
    list_filter = ("state", "model_key", "created_at")
    search_fields = ("id", "wallet__user__email", "reference")
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
