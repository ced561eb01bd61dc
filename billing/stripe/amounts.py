"""Conversion between our amounts and Stripe's, which differ for some currencies.

The source is https://docs.stripe.com/currencies, read in 2026. Stripe's amounts have two decimals unless the currency
is listed here. So forints, rupiahs and Ugandan shillings, which people write without decimals, are sent in hundredths.
Amounts with three decimals must end in a zero.
"""

from django.utils.translation import gettext as _

from billing.currencies import DECIMALS_OF_CARDS, decimals_of, format_money, step_minor
from billing.topups.payments import PaymentRefused

# Stripe's own list includes UGX too, but the special cases on the same page require 500 for 5 shillings.
WITHOUT_DECIMALS = frozenset(
    ["bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf", "xof", "xpf"]
)
WITH_THREE_DECIMALS = frozenset({"bhd", "jod", "kwd", "omr", "tnd"})


def amount_for_stripe(amount_minor: int, currency: str) -> int:
    """Return an amount to charge or to refund, in Stripe's units. Raises PaymentRefused if Stripe does not take it."""
    if amount_minor % step_minor(currency):
        step = format_money(step_minor(currency), currency)
        raise PaymentRefused(_("Stripe takes amounts in steps of {step} only. No money has moved.").format(step=step))
    return as_stripe_writes(amount_minor, currency)


def as_stripe_writes(amount_minor: int, currency: str) -> int:
    """Return our amount in Stripe's units, to compare it with Stripe's."""
    return _shift(amount_minor, _stripe_decimals(currency) - decimals_of(currency))


def minor_of_stripe(amount: int, currency: str) -> int:
    """Return Stripe's amount in our smallest units, rounded up, so that no part of it is left out."""
    return _shift(amount, decimals_of(currency) - _stripe_decimals(currency))


def _stripe_decimals(currency: str) -> int:
    if currency in WITHOUT_DECIMALS:
        return 0
    return 3 if currency in WITH_THREE_DECIMALS else DECIMALS_OF_CARDS


def _shift(amount: int, decimals: int) -> int:
    """Move the decimal point, rounding up."""
    unit: int = 10 ** abs(decimals)
    return amount * unit if decimals > 0 else -(-amount // unit)
