"""The forms of the spending page."""

from typing import Any, cast

from django import forms
from django.conf import settings
from django.utils.translation import gettext_lazy as _

from billing.currencies import format_money
from billing.models import Package
from billing.pages.form_fields import CreditsField, MoneyField
from billing.topups import orders


class AlertForm(forms.Form):
    """Whether and when to be told of a low balance."""

    is_on = forms.BooleanField(label=_("Send me an e-mail when my balance is low"), required=False)
    below = CreditsField(label=_("Low means fewer free credits than"), required=False)

    def clean(self) -> dict[str, Any]:
        """Require a threshold if the alert is on."""
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("is_on") and cleaned.get("below") is None and "below" not in self.errors:
            self.add_error("below", _("Say below how many credits."))
        return cleaned


class CapForm(forms.Form):
    """The most to spend a month; empty for no cap."""

    cap = CreditsField(
        label=_("At most this many credits a calendar month (UTC)"),
        required=False,
        help_text=_("Leave it empty to spend as much as you have."),
    )


class PackageChoice(forms.ModelChoiceField[Package]):
    """A package by its name and price."""

    def label_from_instance(self, obj: Package) -> str:
        """Return the name and price, for example "Medium, 20.00 USD"."""
        return f"{obj.name}, {format_money(obj.price_minor, obj.currency)}"


class AutomaticForm(forms.Form):
    """When to buy what, and the ceiling."""

    below = CreditsField(label=_("When fewer credits are free than"))
    package = PackageChoice(
        Package.objects.none(),
        label=_("Buy"),
        required=False,
        empty_label=_("Another amount"),
        widget=forms.Select(attrs={"class": "field"}),
    )
    amount = MoneyField(label=_("The amount, if it is another"), required=False)
    ceiling = MoneyField(label=_("At most so much money a calendar month (UTC)"))

    def __init__(self, *args: Any, **options: Any) -> None:
        """Offer the packages in the currency that the ceiling is in."""
        super().__init__(*args, **options)
        packages = Package.objects.filter(is_active=True, currency__iexact=settings.TOPUP_CURRENCY)
        cast(PackageChoice, self.fields["package"]).queryset = packages

    def clean(self) -> dict[str, Any]:
        """Store the chosen offer as `offer`. The ceiling must be at least its price."""
        cleaned = super().clean() or self.cleaned_data
        package, amount = cleaned.get("package"), cleaned.get("amount")
        if package is not None:
            cleaned["offer"] = orders.offer_of_package(package)
        elif amount is None:
            if not {"amount", "package"} & set(self.errors):
                self.add_error("amount", _("Choose a package or write an amount."))
        else:
            try:
                cleaned["offer"] = orders.offer_of_amount(amount)
            except orders.InvalidAmount as error:
                self.add_error("amount", str(error))
        offer, ceiling = cleaned.get("offer"), cleaned.get("ceiling")
        if offer is not None and ceiling is not None and ceiling < offer.amount_minor:
            self.add_error("ceiling", _("This must be at least the price of one top-up."))
        return cleaned

    @property
    def currency(self) -> str:
        """The currency of the amounts."""
        return str(settings.TOPUP_CURRENCY).upper()
