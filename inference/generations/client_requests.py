"""Answers for API clients: begun once for each request, joined by its retries, ended when the client is gone.

What becomes of an answer whose client left before it had all of it:

- With an `Idempotency-Key` it is finished and kept: the retry with that key joins it, and it is charged once.
- An official OpenAI client that was given nothing retries the same request by itself, without a key but counting its
  attempts: the answer waits a moment for that retry, which takes it over. So it does when all was sent and lost.
- If that retry came before this attempt was begun, and so began an answer of its own, this one costs nothing.
- Otherwise it is stopped: the prompt and what was produced until then are charged.

If this process dies instead, an answer with a key goes on and a retry finds it; any other costs nothing, unless the
retry of an official client takes it over first (`deliveries`).
"""

import hashlib
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID, uuid4

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from accounts.models import User
from billing.ledger import InsufficientCredits
from billing.ledger.thresholds import call_after_refusal
from inference.generations.deliveries import deliverer, fail_delivery
from inference.generations.endings import stop_generation
from inference.generations.parameters import Caller, Parameters
from inference.generations.requesting import AlreadyRequested, refuse_repeat, request_generation
from inference.models import PROGRAM_KEY, CatalogueModel, Delivery, Generation, GenerationState
from inference.prompting.prompts import Prompt

TAKE_OVER_WITHIN = timedelta(hours=1)  # longer than any client waits; OpenAI's own give up after 10 minutes
MOST_TAKEN_OVER = 100  # identical requests of one customer that a retry may belong to: the latest
LONGEST_BEGINNING = timedelta(seconds=30)  # from the arrival of a request to its row
OVERTAKEN = "A later attempt of the same request was answered."
UNPAID_STATES = (GenerationState.FAILED, GenerationState.CANCELLED)


@dataclass(frozen=True, slots=True)
class Question:
    """One request as it came in; `idempotency_key` is empty when the client sent none.

    `follows_attempt` says that it is a retry, whose attempt before was not refused. `is_delivered_here`: what it makes
    is handed over by this process and no other, since the client cannot ask for it by any name.
    """

    model: CatalogueModel
    prompt: Prompt
    parameters: Parameters
    inputs_hash: str
    idempotency_key: str
    caller: Caller
    follows_attempt: bool = False
    is_delivered_here: bool = False

    @property
    def wanted_tokens(self) -> int:
        """How long the answer may be as far as the request is concerned."""
        return self.parameters.max_tokens or settings.DEFAULT_MAX_TOKENS


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
        elif question.follows_attempt and question.caller.attempt:
            earlier = _take_over(user, question)
            if earlier is not None:
                return earlier
        caller = question.caller
        if question.is_delivered_here:
            caller = replace(caller, process_id=deliverer().expect())
        generation = request_generation(
            user=user,
            model=question.model,
            prompt=question.prompt,
            parameters=question.parameters,
            idempotency_key=key,
            inputs_hash=question.inputs_hash,
            caller=caller,
        )
    except AlreadyRequested as repeat:
        repeat.generation.is_repeated = True
        return repeat.generation
    except InsufficientCredits as error:
        call_after_refusal(user=user, needed_microcredits=error.needed_microcredits)
        raise
    if question.is_delivered_here:
        deliverer().take_on(generation.pk)
    return generation


def give_up(*, generation_id: UUID, attempt: int | None) -> None:
    """Stop the answer of a client that left, unless its retry has taken it over."""
    left = Generation.objects.filter(pk=generation_id)
    if attempt is None or left.filter(client_attempt=attempt).update(client_attempt=None):
        stop_generation(generation=left.get())
    deliverer().close(generation_id)


def fail_overtaken(*, generation_id: UUID, attempt: int) -> bool:
    """End an answer at no cost that was begun after its client had left, if a later attempt has one of its own.

    That one alone is paid. False where there is none: a retry may still come.
    """
    generation = Generation.objects.select_related("hold").get(pk=generation_id)
    if not _has_later_attempt(generation, attempt):
        return False
    if Generation.objects.filter(pk=generation_id, client_attempt=attempt).update(client_attempt=None):
        fail_delivery(generation_id=generation_id, error=OVERTAKEN)
    deliverer().close(generation_id)
    return True


def _has_later_attempt(generation: Generation, attempt: int) -> bool:
    later = Generation.objects.filter(
        user_id=generation.user_id,
        inputs_hash=generation.inputs_hash,
        client_attempt__gt=attempt,
        created_at__gte=generation.created_at - LONGEST_BEGINNING,
    )
    return later.filter(hold__api_key=generation.hold.api_key_id).exclude(state__in=UNPAID_STATES).exists()


def _free_unpaid(user: User, key: str) -> None:
    """An answer that failed or never began cost nothing and is no answer: its key may ask again."""
    unpaid = Generation.objects.for_user(user).filter(idempotency_key=key, state__in=UNPAID_STATES)
    for generation in unpaid:
        unpaid.filter(pk=generation.pk).update(idempotency_key=f"unpaid:{generation.pk}")


def _take_over(user: User, question: Question) -> Generation | None:
    """The answer that the attempt before this one waited for or was sent, taken by one conditional update.

    First those that nobody was given.
    """
    attempt, key = question.caller.attempt or 0, question.caller.api_key
    latest = (
        Generation.objects.for_user(user)
        .filter(
            inputs_hash=question.inputs_hash,
            client_attempt__isnull=False,
            created_at__gte=Now() - TAKE_OVER_WITHIN,
            hold__api_key=key,
        )
        .select_related("delivery")
        .order_by("-created_at")[:MOST_TAKEN_OVER]
    )
    lost = (*UNPAID_STATES, GenerationState.STOPPED)
    of_attempt = [each for each in latest if each.client_attempt == attempt - 1 and each.state not in lost]
    for generation in sorted(of_attempt, key=lambda each: not hasattr(each, "delivery")):
        if _take(generation.pk, attempt):
            return generation
    return None


def _take(generation_id: UUID, attempt: int) -> bool:
    """Now this process has to hand it over, to this attempt.

    What was handed over before stays so: else whoever asks again and again would wait for a restart to be paid back.
    """
    process_id = deliverer().expect()
    with transaction.atomic():
        row = Generation.objects.filter(pk=generation_id, client_attempt=attempt - 1)
        if not row.update(client_attempt=attempt):
            return False
        to_hand_over = Delivery.objects.filter(generation_id=generation_id)
        is_open = to_hand_over.update(process_id=process_id, created_at=Now())
    if is_open:
        deliverer().take_on(generation_id)
    return True
