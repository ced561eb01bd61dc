"""Estimates what an answer will cost before it is requested."""

from dataclasses import dataclass

from django.db.models import Avg

from accounts.models import User
from billing.ledger.caps import read_room_microcredits
from billing.ledger.prices import current_price_tags
from inference.models import CatalogueModel, Generation, GenerationState
from inference.prompting.prompts import Prompt, completion_room, encode_prompt

RECENT_ANSWERS = 20
USUAL_TOKENS = 200  # for a customer who has had no answer from this model yet


@dataclass(frozen=True, slots=True)
class Estimate:
    """What an answer costs in microcredits: usually, if it is as long as the customer's recent ones; and at most.

    `cap_room_microcredits` is what the customer's monthly cap leaves to spend; None without a cap.
    """

    prompt_tokens: int
    max_completion_tokens: int
    usual_microcredits: int
    most_microcredits: int
    cap_room_microcredits: int | None

    @property
    def is_limited_by_cap(self) -> bool:
        """Whether the cap leaves less than the answer may cost."""
        return self.cap_room_microcredits is not None and self.cap_room_microcredits < self.most_microcredits


def estimate_answer(
    *, user: User, model: CatalogueModel, prompt: Prompt, max_tokens: int | None = None
) -> Estimate | None:
    """The estimate, or None for a model without a price. Raises as `encode_prompt` and `completion_room` do."""
    tag = current_price_tags([model.key]).get(model.key)
    if tag is None:
        return None
    prompt_tokens = len(encode_prompt(model=model, prompt=prompt))
    most_tokens = completion_room(model, prompt_tokens, asked=max_tokens)
    usual_tokens = min(_usual_tokens(user, model), most_tokens)
    return Estimate(
        prompt_tokens,
        most_tokens,
        tag.cost_microcredits(prompt_tokens, usual_tokens),
        tag.cost_microcredits(prompt_tokens, most_tokens),
        read_room_microcredits(user.wallet),
    )


def _usual_tokens(user: User, model: CatalogueModel) -> int:
    recent = Generation.objects.for_user(user).filter(model=model, state=GenerationState.COMPLETED)
    recent = recent.order_by("-created_at")[:RECENT_ANSWERS]
    average = recent.aggregate(tokens=Avg("completion_tokens"))["tokens"]
    return round(average) if average else USUAL_TOKENS
