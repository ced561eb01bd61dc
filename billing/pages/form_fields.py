"""Form fields for amounts as people write them. They return microcredits, or smallest units of money."""

from decimal import Decimal
from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing.currencies import TooFine, format_money, from_minor, step_minor, to_minor
from billing.models import MICROCREDITS_PER_CREDIT

MOST_CREDITS = 1_000_000_000
MOST_MINOR = 2**31 - 1  # the most that a column for money holds
NO_AMOUNT = gettext_lazy("Write an amount, such as 20 or 12.50.")


def _attributes(**more: str) -> dict[str, str]:
    return {"class": "field num", "inputmode": "decimal", "autocomplete": "off", "step": "any"} | more


class CreditsField(forms.DecimalField):
    """An amount of credits above zero, exact to the microcredit; the cleaned value is in microcredits."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            min_value=Decimal(1) / MICROCREDITS_PER_CREDIT,
            max_value=MOST_CREDITS,
            decimal_places=6,
            max_digits=16,
            widget=forms.NumberInput(attrs=_attributes()),
            error_messages={
                "invalid": gettext_lazy("Write a number of credits, such as 12.5."),
                "min_value": gettext_lazy("Write more than zero."),
                "max_value": gettext_lazy("That is more credits than there are."),
            },
            **options,
        )

    def clean(self, value: Any) -> Any:
        """Return microcredits, or None."""
        found = super().clean(value)
        return None if found is None else int(found * MICROCREDITS_PER_CREDIT)

    def prepare_value(self, value: Any) -> Any:
        """Show microcredits as credits, and what somebody typed as they typed it."""
        return Decimal(value) / MICROCREDITS_PER_CREDIT if isinstance(value, int) else value


class MoneyField(forms.DecimalField):
    """An amount above zero of the currency that credits are sold for; the cleaned value is in its smallest units."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            max_digits=14,
            widget=forms.NumberInput(attrs=_attributes()),
            error_messages={"invalid": NO_AMOUNT, "max_digits": NO_AMOUNT},
            **options,
        )

    def clean(self, value: Any) -> Any:
        """Return smallest units, or None."""
        found = super().clean(value)
        return None if found is None else self._minor(found)

    def prepare_value(self, value: Any) -> Any:
        """Show smallest units as money, and what somebody typed as they typed it."""
        return from_minor(value, settings.TOPUP_CURRENCY) if isinstance(value, int) else value

    def _minor(self, amount: Decimal) -> int:
        currency = settings.TOPUP_CURRENCY
        if amount <= 0:
            raise ValidationError(_("Write more than zero."))
        try:
            minor = to_minor(amount, currency)
        except TooFine as error:
            step = format_money(step_minor(currency), currency)
            raise ValidationError(_("Amounts go in steps of {step}.").format(step=step)) from error
        if minor > MOST_MINOR:
            raise ValidationError(_("That is more than can be charged."))
        return minor
