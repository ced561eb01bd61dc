"""Estimates what a message, another version of an answer, or its continuation would cost before it is requested."""

from accounts.models import User
from chat.branches import AT_THE_END, Branches, Place, read_branches, read_turns
from chat.messages import compose_prompt, generation_of
from chat.models import Conversation, Message
from chat.settings import Settings
from inference.generations.estimates import Estimate, estimate_answer
from inference.models import CatalogueModel, Generation
from inference.prompting.conversation import Turn
from inference.prompting.prompts import clean_prompt


def estimate_message(
    *,
    user: User,
    conversation: Conversation | None,
    model: CatalogueModel,
    text: str,
    settings: Settings,
    place: Place = AT_THE_END,
) -> Estimate | None:
    """What it would cost to send this message. Raises InvalidPrompt, ModelUnavailable and MessageGone."""
    turns: list[Turn] = []
    if conversation is not None:
        branches = read_branches(conversation)
        parent_id = place.parent_in(branches)
        turns = [] if parent_id is None else read_turns(conversation, branches.path(parent_id))
    turns.append(Turn("user", clean_prompt(text)))
    prompt = compose_prompt(model, settings.system_prompt, turns)
    return estimate_answer(user=user, model=model, prompt=prompt, max_tokens=settings.parameters.max_tokens)


def estimate_version(*, user: User, answer: Message, model: CatalogueModel) -> Estimate | None:
    """What another version of this answer would cost. Raises as `estimate_message`."""
    branches = read_branches(answer.conversation)
    return _estimate_after(user, answer, branches, generation_of(answer, branches), branches.parents[answer.pk], model)


def estimate_continuation(*, user: User, answer: Message) -> Estimate | None:
    """What it would cost to continue this answer. Raises as `estimate_message`."""
    branches = read_branches(answer.conversation)
    generation = generation_of(answer, branches)
    return _estimate_after(user, answer, branches, generation, answer.pk, generation.model)


def _estimate_after(
    user: User,
    answer: Message,
    branches: Branches,
    earlier: Generation,
    parent_id: int | None,
    model: CatalogueModel,
) -> Estimate | None:
    """What an answer to the branch that ends with `parent_id` would cost, if it may be as long as the earlier one."""
    turns = read_turns(answer.conversation, branches.path(parent_id))
    return estimate_answer(
        user=user,
        model=model,
        prompt=compose_prompt(model, answer.conversation.system_prompt, turns),
        max_tokens=earlier.requested_completion_tokens,
    )
