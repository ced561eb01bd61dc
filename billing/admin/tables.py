"""Money in the admin. All tables can be read. The services that the API uses write prices and packages.

Refunds are in `billing.admin.refunds`, wallets in `billing.admin.wallets`, promotion codes in `billing.admin.codes`.
"""

from typing import Any, cast

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AdminSplitDateTime
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from accounts.callers.requests import Request
from billing.admin.columns import credits_of, customer_of
from billing.ledger import price_changes
from billing.models import Grant, LedgerEntry, Package, PaymentEvent, Price
from billing.topups import packages
from core.admin.base import ReadOnlyAdmin, ServiceAdmin
from core.admin.large_lists import LargeList, filter_of_values


@admin.register(LedgerEntry)
class LedgerEntryAdmin(LargeList, ReadOnlyAdmin):
    """Every movement."""

    list_display = ("created_at", "customer", "kind", "credits", "balance_after", "reason", "created_by")
    list_filter = ("kind", "created_at")
    people, found_by = "wallet", ("id", "idempotency_key", "hold")
    ordering = ("-id",)
    list_select_related = ("wallet__user", "created_by")
    linked_lookups = ("wallet__exact",)
    customer = customer_of("wallet__user")
    credits = credits_of("amount_microcredits", _("credits"), is_signed=True)
    balance_after = credits_of("balance_after_microcredits", _("balance after"))


class PriceForm(forms.ModelForm[Price]):
    """A new version of a model's prices."""

    prompt_microcredits_per_token = forms.IntegerField(min_value=1, max_value=price_changes.MOST_PRICE)
    completion_microcredits_per_token = forms.IntegerField(min_value=1, max_value=price_changes.MOST_PRICE)
    effective_at = forms.SplitDateTimeField(
        required=False, widget=AdminSplitDateTime, help_text=_("Now, if it is left out; not in the past.")
    )

    class Meta:
        model = Price
        fields = (
            "model_key",
            "prompt_microcredits_per_token",
            "completion_microcredits_per_token",
            "effective_at",
        )

    def clean(self) -> dict[str, Any]:
        """Refuse what the service would refuse, and set the moment when the price begins."""
        fields = super().clean() or self.cleaned_data
        if not self.errors:
            try:
                fields["effective_at"] = price_changes.plan_price(**fields).effective_at
            except (price_changes.PriceExists, price_changes.PriceRefused) as refusal:
                raise forms.ValidationError(str(refusal)) from refusal
        return fields


@admin.register(Price)
class PriceAdmin(ServiceAdmin):
    """Price versions: a new version can be added, an existing one never changes."""

    form = PriceForm
    refusals = (price_changes.PriceExists, price_changes.PriceRefused)
    list_display = (
        "model_key",
        "prompt_microcredits_per_token",
        "completion_microcredits_per_token",
        "effective_at",
        "created_by",
    )
    list_filter = ("model_key",)
    list_select_related = ("created_by",)

    def has_change_permission(self, _request: HttpRequest, _obj: Price | None = None) -> bool:
        """A version is never edited."""
        return False

    def save_model(self, request: HttpRequest, obj: Price, form: Any, change: bool) -> None:  # noqa: ARG002  never changed
        obj.pk = price_changes.add_price(by=cast(Request, request).user, **form.cleaned_data).pk


@admin.register(Grant)
class GrantAdmin(LargeList, ReadOnlyAdmin):
    """Grants: where credits came from and what is left of them."""

    list_display = ("id", "customer", "kind", "credits", "left", "expires_at")
    list_filter = ("expires_at",)
    people, found_by = "wallet", ("id", "entry")
    ordering = ("-id",)
    list_select_related = ("wallet__user", "entry")
    linked_lookups = ("wallet__exact",)
    customer = customer_of("wallet__user")
    credits = credits_of("amount_microcredits", _("credits"))
    left = credits_of("remaining_microcredits", _("left"))

    @admin.display(description=_("kind"))
    def kind(self, row: Grant) -> str:
        """How the credits came in."""
        return row.entry.get_kind_display()


class PackageForm(forms.ModelForm[Package]):
    """What a package costs and gives."""

    class Meta:
        model = Package
        fields = (
            "name",
            "price_minor",
            "currency",
            "credits_microcredits",
            "bonus_microcredits",
            "is_active",
            "position",
        )

    def clean(self) -> dict[str, Any]:
        """Refuse what the service would refuse."""
        fields = super().clean() or self.cleaned_data
        if not self.errors:
            try:
                packages.refuse_package(Package(**fields))
            except packages.PackageRefused as refusal:
                raise forms.ValidationError(str(refusal)) from refusal
        return fields


@admin.register(Package)
class PackageAdmin(ServiceAdmin):
    """What customers can buy. A package that is not sold any more is made inactive."""

    form = PackageForm
    refusals = (packages.PackageRefused,)
    list_display = ("name", "price_minor", "currency", "credits_microcredits", "bonus_microcredits", "is_active")

    def save_model(self, request: HttpRequest, obj: Package, form: Any, change: bool) -> None:  # noqa: ARG002  it sees that
        """Add or change the package."""
        packages.save_package(package=obj, by=cast(Request, request).user)


@admin.register(PaymentEvent)
class PaymentEventAdmin(LargeList, ReadOnlyAdmin):
    """The messages of providers, as they came."""

    list_display = ("received_at", "type", "provider", "event_id", "processed_at", "error")
    list_filter = (filter_of_values("type", _("type")), "received_at")
    found_by = ("event_id",)
    ordering = ("-received_at", "-id")
