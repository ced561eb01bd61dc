"""Current prices of models, and conversions between the ways in which prices are written."""

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from django.conf import settings
from django.utils.translation import gettext as _

from billing.currencies import decimals_of
from billing.models import MICROCREDITS_PER_CREDIT, Price

LARGEST_PRICE = Decimal(1_000_000)  # credits for 1,000 tokens


class InvalidPrice(Exception):
    """The text is no price; the message says why."""


@dataclass(frozen=True, slots=True)
class PriceTag:
    """Prices of a model now, in microcredits per token."""

    prompt_microcredits_per_token: int
    completion_microcredits_per_token: int

    def cost_microcredits(self, prompt_tokens: int, completion_tokens: int) -> int:
        """What these tokens cost."""
        return (
            prompt_tokens * self.prompt_microcredits_per_token
            + completion_tokens * self.completion_microcredits_per_token
        )

    def from_cache(self) -> "PriceTag":
        """Return the prices of an answer from the cache: ANSWER_CACHE_PRICE_PERCENT of these.

        They are rounded up to whole microcredits.
        """
        prices = (self.prompt_microcredits_per_token, self.completion_microcredits_per_token)
        return PriceTag(*(-(-price * settings.ANSWER_CACHE_PRICE_PERCENT // 100) for price in prices))


def parse_price(text: str) -> int:
    """Convert a price in credits for 1,000 tokens, as people write it, to microcredits per token.

    Raises InvalidPrice.
    """
    try:
        credits_for_thousand = Decimal(text)
    except InvalidOperation:
        raise InvalidPrice(
            _("“{text}” is no price: write credits for 1,000 tokens, such as 0.25.").format(text=text)
        ) from None
    if not (credits_for_thousand.is_finite() and 0 < credits_for_thousand <= LARGEST_PRICE):
        raise InvalidPrice(
            _("A price is above 0 and at most {most:,} credits for 1,000 tokens.").format(most=LARGEST_PRICE)
        )
    microcredits = credits_for_thousand * MICROCREDITS_PER_CREDIT / 1000
    if microcredits != int(microcredits):
        raise InvalidPrice(
            _("{text} is no whole number of microcredits a token: 0.001 is the smallest step.").format(text=text)
        )
    return int(microcredits)


def price_in_money(microcredits: int) -> str:
    """Return the price of these microcredits in units of TOPUP_CURRENCY (dollars, not cents), without an exponent."""
    minor = Decimal(microcredits) / MICROCREDITS_PER_CREDIT / settings.CREDITS_PER_MINOR_UNIT
    return f"{minor.scaleb(-decimals_of(settings.TOPUP_CURRENCY)):f}"


def current_price_tags(model_keys: list[str]) -> dict[str, PriceTag]:
    """The prices in effect now, by model key; a model without one is missing. One query."""
    newest_first = Price.objects.in_effect().filter(model_key__in=model_keys)
    rows = newest_first.order_by("model_key", "-effective_at", "-pk").distinct("model_key")
    return {
        row.model_key: PriceTag(row.prompt_microcredits_per_token, row.completion_microcredits_per_token)
        for row in rows
    }
