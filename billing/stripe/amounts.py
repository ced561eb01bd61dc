"""How Stripe counts money, which is not everywhere how people do (https://docs.stripe.com/currencies, read in 2026).

Two decimals unless listed here. Forints, rupiahs or Ugandan shillings, of which people use whole ones, are sent in
hundredths. Amounts with three decimals end in a zero.
"""

from django.utils.translation import gettext as _

from billing.currencies import DECIMALS_OF_CARDS, decimals_of, format_money, step_minor
from billing.topups.payments import PaymentRefused

# UGX is in Stripe's own list of these too, but the special cases of the same page want 500 for 5 shillings.
WITHOUT_DECIMALS = frozenset(
    ["bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf", "xof", "xpf"]
)
WITH_THREE_DECIMALS = frozenset({"bhd", "jod", "kwd", "omr", "tnd"})


def amount_for_stripe(amount_minor: int, currency: str) -> int:
    """An amount to charge or to give back, as Stripe writes it. Raises PaymentRefused for one that it does not take."""
    if amount_minor % step_minor(currency):
        step = format_money(step_minor(currency), currency)
        raise PaymentRefused(_("Stripe takes amounts in steps of {step} only. No money has moved.").format(step=step))
    return as_stripe_writes(amount_minor, currency)


def as_stripe_writes(amount_minor: int, currency: str) -> int:
    """Our amount in Stripe's units, to compare with what it says."""
    return _shift(amount_minor, _stripe_decimals(currency) - decimals_of(currency))


def minor_of_stripe(amount: int, currency: str) -> int:
    """Stripe's amount as we write it; a part of our smallest unit counts as one, so that nothing stays untaken."""
    return _shift(amount, decimals_of(currency) - _stripe_decimals(currency))


def _stripe_decimals(currency: str) -> int:
    if currency in WITHOUT_DECIMALS:
        return 0
    return 3 if currency in WITH_THREE_DECIMALS else DECIMALS_OF_CARDS


def _shift(amount: int, decimals: int) -> int:
    """Move the decimal point, rounding up."""
    unit: int = 10 ** abs(decimals)
    return amount * unit if decimals > 0 else -(-amount // unit)
