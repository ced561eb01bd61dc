"""What an answer may cost, before it is asked for."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Avg

from accounts.models import User
from billing.prices import current_price_tags
from inference.models import CatalogueModel, Generation, GenerationState
from inference.prompts import Turn, completion_room, encode_conversation

RECENT_ANSWERS = 20
USUAL_TOKENS = 200  # for a customer who has had no answer from this model yet


@dataclass(frozen=True, slots=True)
class Estimate:
    """Microcredits: with an answer as long as the customer's recent ones, and at the very most."""

    prompt_tokens: int
    usual_microcredits: int
    most_microcredits: int


def estimate_answer(*, user: User, model: CatalogueModel, turns: Sequence[Turn]) -> Estimate | None:
    """The estimate, or None for a model without a price. Raises as `encode_conversation` and `completion_room` do."""
    tag = current_price_tags([model.key]).get(model.key)
    if tag is None:
        return None
    prompt_tokens = len(encode_conversation(model=model, turns=turns))
    most_tokens = completion_room(model, prompt_tokens, asked=None)
    usual_tokens = min(_usual_tokens(user, model), most_tokens)
    return Estimate(
        prompt_tokens,
        tag.cost_microcredits(prompt_tokens, usual_tokens),
        tag.cost_microcredits(prompt_tokens, most_tokens),
    )


def _usual_tokens(user: User, model: CatalogueModel) -> int:
    recent = Generation.objects.for_user(user).filter(model=model, state=GenerationState.COMPLETED)
    recent = recent.order_by("-created_at")[:RECENT_ANSWERS]
    average = recent.aggregate(tokens=Avg("completion_tokens"))["tokens"]
    return round(average) if average else USUAL_TOKENS
