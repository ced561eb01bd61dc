"""What an answer may cost, for those who ask before they pay."""

from dataclasses import dataclass

from django.conf import settings

from billing.models import Price


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
        """The prices of an answer that was generated before: a share of these, rounded up to whole microcredits."""
        prices = (self.prompt_microcredits_per_token, self.completion_microcredits_per_token)
        return PriceTag(*(-(-price * settings.ANSWER_CACHE_PRICE_PERCENT // 100) for price in prices))


def current_price_tags(model_keys: list[str]) -> dict[str, PriceTag]:
    """The prices in effect now, by model key; a model without one is missing. One query."""
    newest_first = Price.objects.in_effect().filter(model_key__in=model_keys)
    rows = newest_first.order_by("model_key", "-effective_at", "-pk").distinct("model_key")
    return {
        row.model_key: PriceTag(row.prompt_microcredits_per_token, row.completion_microcredits_per_token)
        for row in rows
    }
