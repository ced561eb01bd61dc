"""Answers for API clients: begun once for each request, joined by its retries, ended when the client is gone.

What becomes of an answer whose client left before it had all of it:

- With an `Idempotency-Key` it is finished and kept: the retry with that key joins it, and it is charged once.
- An official OpenAI client that timed out retries the same request by itself, without a key but counting its
  attempts: the answer waits a moment for that retry, which takes it over.
- Otherwise it is stopped: the prompt and what was produced until then are charged.

If this process dies instead, a begun answer is finished at its normal price, as when somebody closes the chat page;
a retry of either kind still finds it.
"""

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

from django.utils import timezone

from accounts.models import User
from billing.ledger import InsufficientCredits
from billing.watch import call_after_refusal
from inference.models import PROGRAM_KEY, CatalogueModel, Generation, GenerationState
from inference.prompts import Prompt
from inference.services import (
    AlreadyRequested,
    Caller,
    Parameters,
    refuse_repeat,
    request_generation,
    stop_generation,
)

TAKE_OVER_WITHIN = timedelta(hours=1)  # longer than any client waits; OpenAI's own give up after 10 minutes
UNPAID_STATES = (GenerationState.FAILED, GenerationState.CANCELLED)


@dataclass(frozen=True, slots=True)
class Question:
    """One request as it came in; `idempotency_key` is empty when the client sent none."""

    model: CatalogueModel
    prompt: Prompt
    parameters: Parameters
    inputs_hash: str
    idempotency_key: str
    caller: Caller


def begin_answer(*, user: User, question: Question) -> Generation:
    """Request an answer, or return the one that this request made before.

    Raises what `request_generation` raises, IdempotencyConflict for a key that asked something else among them. If
    the process dies before the commit, nothing was held; after it, the retry finds the generation.
    """
    key = f"{PROGRAM_KEY}{uuid4()}"
    try:
        if question.idempotency_key:
            key = PROGRAM_KEY + hashlib.sha256(question.idempotency_key.encode()).hexdigest()
            _free_unpaid(user, key)
            refuse_repeat(user=user, idempotency_key=key, inputs_hash=question.inputs_hash)
        elif question.caller.attempt:
            earlier = _take_over(user, question.inputs_hash, question.caller.attempt)
            if earlier is not None:
                return earlier
        return request_generation(
            user=user,
            model=question.model,
            prompt=question.prompt,
            parameters=question.parameters,
            idempotency_key=key,
            inputs_hash=question.inputs_hash,
            caller=question.caller,
        )
    except AlreadyRequested as repeat:
        return repeat.generation
    except InsufficientCredits as error:
        call_after_refusal(user=user, needed_microcredits=error.needed_microcredits)
        raise


def hand_over(*, generation_id: UUID, attempt: int | None) -> None:
    """Note that this attempt has its answer: no retry may take it over any more."""
    if attempt is not None:
        Generation.objects.filter(pk=generation_id, client_attempt=attempt).update(client_attempt=None)


def give_up(*, generation_id: UUID, attempt: int | None) -> None:
    """Stop the answer of a client that left, unless its retry has taken it over."""
    left = Generation.objects.filter(pk=generation_id)
    if attempt is not None and not left.filter(client_attempt=attempt).update(client_attempt=None):
        return
    stop_generation(generation=left.get())


def _free_unpaid(user: User, key: str) -> None:
    """An answer that failed or never began cost nothing and is no answer: its key may ask again."""
    unpaid = Generation.objects.for_user(user).filter(idempotency_key=key, state__in=UNPAID_STATES)
    for generation in unpaid:
        unpaid.filter(pk=generation.pk).update(idempotency_key=f"unpaid:{generation.pk}")


def _take_over(user: User, inputs_hash: str, attempt: int) -> Generation | None:
    """The answer that the attempt before this one waited for, taken by one conditional update."""
    awaited = (
        Generation.objects.for_user(user)
        .filter(inputs_hash=inputs_hash, client_attempt=attempt - 1, created_at__gte=timezone.now() - TAKE_OVER_WITHIN)
        .exclude(state__in=[*UNPAID_STATES, GenerationState.STOPPED])
    )
    for generation in awaited.order_by("created_at")[:10]:
        if Generation.objects.filter(pk=generation.pk, client_attempt=attempt - 1).update(client_attempt=attempt):
            return generation
    return None
