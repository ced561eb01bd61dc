"""Money in the currency that credits are sold for: its decimals, its valid amounts, and its written form.

An amount is an integer of the smallest unit in use (`_minor`): cents of a dollar, whole yen, fils of a dinar. Babel
knows the number of decimals from the CLDR (https://cldr.unicode.org). A provider may count differently:
`billing.stripe.amounts` converts for Stripe. The settings use this module, so it imports nothing that reads them.
"""

from decimal import Decimal
from functools import cache

from babel.core import Locale, get_global
from babel.numbers import (
    format_currency,
    get_currency_precision,
    get_currency_symbol,
    get_territory_currencies,
)
from django.utils.translation import get_language

DECIMALS_OF_CARDS = 2  # Stripe and its partners charge at most two: a third decimal must be zero


class UnknownCurrency(ValueError):
    """The code belongs to no currency that is in use."""


class TooFine(ValueError):
    """The amount has more decimals than can be paid in its currency."""


@cache
def currencies_in_use() -> frozenset[str]:
    """Return the codes of all currencies that are legal tender somewhere today, in lower case."""
    territories = get_global("territory_currencies")
    return frozenset(code.lower() for territory in territories for code in get_territory_currencies(territory))


def known_currency(code: str) -> str:
    """Return the code in lower case, as it is stored and as Stripe wants it. Raises UnknownCurrency."""
    currency = code.strip().lower()
    if currency not in currencies_in_use():
        raise UnknownCurrency(f"{code!r} is the code of no currency in use; write one of ISO 4217, such as usd or jpy")
    return currency


def decimals_of(currency: str) -> int:
    """How many decimals an amount is written with: 2 for usd, 0 for jpy, 3 for kwd."""
    return get_currency_precision(currency.upper())


def step_minor(currency: str) -> int:
    """Return the step of amounts, in smallest units: 10 for a currency with three decimals, else 1."""
    step: int = 10 ** max(0, decimals_of(currency) - DECIMALS_OF_CARDS)
    return step


def to_minor(amount: Decimal, currency: str) -> int:
    """An amount as people write it, in smallest units: 12.5 usd is 1250. Raises TooFine."""
    exact = amount.scaleb(decimals_of(currency))
    if exact % step_minor(currency):
        raise TooFine(f"{amount} {currency}")
    return int(exact)


def from_minor(amount_minor: int, currency: str) -> Decimal:
    """Smallest units as people write them, with all decimals of the currency: 1250 usd is 12.50."""
    return Decimal(amount_minor).scaleb(-decimals_of(currency))


def format_money(amount_minor: int, currency: str) -> str:
    """For people, as it is written in the active language: 123456 usd is '$1,234.56', 500 usd '$5', 500 jpy '¥500'."""
    amount, spoken = from_minor(amount_minor, currency), Locale.parse(get_language() or "en", sep="-")
    pattern = spoken.currency_formats["standard"].pattern
    if get_currency_symbol(currency.upper(), spoken).isalpha():
        pattern = pattern.replace("¤#", "¤\u00a0#")  # a code and a number stand apart: 'KWD 5'
    is_whole = amount == amount.to_integral_value()
    if is_whole:
        pattern = pattern.replace(".00", "")
    written: str = format_currency(amount, currency.upper(), pattern, locale=spoken, currency_digits=not is_whole)
    return written
