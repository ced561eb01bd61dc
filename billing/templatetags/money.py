"""Credits and money for people, in the form of their language: exact, without needless zeros."""

from decimal import Decimal

from django import template
from django.utils.formats import number_format

from billing.currencies import format_money
from billing.models import MICROCREDITS_PER_CREDIT

register = template.Library()

MICROCREDITS_PER_CENT = MICROCREDITS_PER_CREDIT // 100  # of a credit


@register.filter("credits")
def format_credits(microcredits: int) -> str:
    """Format microcredits as credits: 1234567890 is '1,234.56789', in German '1.234,56789'; 500000 is '0.50'."""
    decimals = len(f"{abs(microcredits) % MICROCREDITS_PER_CREDIT:06d}".rstrip("0"))
    return number_format(_in_credits(microcredits), max(2, decimals), force_grouping=True)


@register.filter
def signed_credits(microcredits: int) -> str:
    """Format credits with their sign: 5000000 is '+5.00', -2500000 is '-2.50'."""
    return f"{'+' if microcredits > 0 else ''}{format_credits(microcredits)}"


@register.filter("balance")
def format_balance(microcredits: int) -> str:
    """Format a balance with two decimals, rounded down, so that it never promises more: 9986440 is '9.98'."""
    return format_credits(microcredits // MICROCREDITS_PER_CENT * MICROCREDITS_PER_CENT)


@register.filter
def round_credits(microcredits: int) -> str:
    """Format credits for a headline, where whole ones have no decimals: 10000000 is '10', 500000 is '0.50'."""
    if microcredits % MICROCREDITS_PER_CREDIT:
        return format_credits(microcredits)
    return number_format(_in_credits(microcredits), 0, force_grouping=True)


@register.filter
def less(microcredits: int, taken_off: int) -> int:
    """The difference of two amounts: what an answer cost, less what was refunded."""
    return microcredits - taken_off


@register.filter
def roughly(microcredits: int) -> str:
    """Format an estimate with two significant digits, rounded up: 123456 is '0.13'."""
    unit = 10 ** max(0, len(str(microcredits)) - 2)
    return format_credits(-(-microcredits // unit) * unit)


@register.filter
def money(amount_minor: int, currency: str) -> str:
    """Format smallest units of a currency: 123456 usd is '$1,234.56', 500 usd '$5', 500 jpy '¥500'."""
    return format_money(amount_minor, currency)


@register.filter
def per_thousand(microcredits_per_token: int) -> str:
    """Format a price per token as credits for 1,000 tokens."""
    return format_credits(microcredits_per_token * 1000)


def _in_credits(microcredits: int) -> Decimal:
    return Decimal(microcredits) / MICROCREDITS_PER_CREDIT
