"""The forms of the spending page. People write credits and money; `cleaned_data` has microcredits and minor units."""

from decimal import Decimal
from typing import Any

from django import forms
from django.conf import settings
from django.utils.translation import gettext_lazy as _

from billing import topups
from billing.models import MICROCREDITS_PER_CREDIT, Package
from billing.templatetags.money import money

MOST_CREDITS = 1_000_000_000


def _attributes(**more: str) -> dict[str, str]:
    return {"class": "field num", "inputmode": "decimal", "autocomplete": "off", "step": "any"} | more


class CreditsField(forms.DecimalField):
    """An amount of credits above zero, exact to the microcredit; cleaned to microcredits."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            min_value=Decimal(1) / MICROCREDITS_PER_CREDIT,
            max_value=MOST_CREDITS,
            decimal_places=6,
            max_digits=16,
            widget=forms.NumberInput(attrs=_attributes()),
            error_messages={
                "invalid": _("Write a number of credits, such as 12.5."),
                "min_value": _("Write more than zero."),
                "max_value": _("That is more credits than there are."),
            },
            **options,
        )

    def clean(self, value: Any) -> Any:
        """Microcredits, or None."""
        found = super().clean(value)
        return None if found is None else int(found * MICROCREDITS_PER_CREDIT)

    def prepare_value(self, value: Any) -> Any:
        """Microcredits as credits; what somebody typed as they typed it."""
        return Decimal(value) / MICROCREDITS_PER_CREDIT if isinstance(value, int) else value


class MoneyField(forms.DecimalField):
    """An amount of money, exact to the minor unit; cleaned to minor units."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            min_value=Decimal("0.01"),
            max_value=10_000_000,
            decimal_places=2,
            widget=forms.NumberInput(attrs=_attributes()),
            error_messages={
                "invalid": _("Write an amount, such as 20 or 12.50."),
                "min_value": _("Write more than zero."),
                "max_decimal_places": _("Amounts go down to a cent: 12.50, not 12.505."),
            },
            **options,
        )

    def clean(self, value: Any) -> Any:
        """Minor units, or None."""
        found = super().clean(value)
        return None if found is None else int(found * 100)

    def prepare_value(self, value: Any) -> Any:
        """Minor units as money; what somebody typed as they typed it."""
        return Decimal(value) / 100 if isinstance(value, int) else value


class AlertForm(forms.Form):
    """Whether and when to be told of a low balance."""

    is_on = forms.BooleanField(label=_("Send me an e-mail when my balance is low"), required=False)
    below = CreditsField(label=_("Low means fewer free credits than"), required=False)

    def clean(self) -> dict[str, Any]:
        """A threshold is needed where the alert is on."""
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
        """Medium, 20.00 USD."""
        return f"{obj.name}, {money(obj.price_minor, obj.currency)}"


class AutomaticForm(forms.Form):
    """When to buy what, and the ceiling."""

    below = CreditsField(label=_("When fewer credits are free than"))
    package = PackageChoice(
        Package.objects.filter(is_active=True),
        label=_("Buy"),
        required=False,
        empty_label=_("Another amount"),
        widget=forms.Select(attrs={"class": "field"}),
    )
    amount = MoneyField(label=_("The amount, if it is another"), required=False)
    ceiling = MoneyField(label=_("At most so much money a calendar month (UTC)"))

    def clean(self) -> dict[str, Any]:
        """Put what is bought into `offer`; the ceiling must leave room for one."""
        cleaned = super().clean() or self.cleaned_data
        package, amount = cleaned.get("package"), cleaned.get("amount")
        if package is not None:
            cleaned["offer"] = topups.offer_of_package(package)
        elif amount is None:
            if not {"amount", "package"} & set(self.errors):
                self.add_error("amount", _("Choose a package or write an amount."))
        else:
            try:
                cleaned["offer"] = topups.offer_of_amount(amount)
            except topups.InvalidAmount as error:
                self.add_error("amount", str(error))
        offer, ceiling = cleaned.get("offer"), cleaned.get("ceiling")
        if offer is not None and ceiling is not None and ceiling < offer.amount_minor:
            self.add_error("ceiling", _("This must be at least the price of one top-up."))
        return cleaned

    @property
    def currency(self) -> str:
        """What amounts are in."""
        return str(settings.TOPUP_CURRENCY).upper()
