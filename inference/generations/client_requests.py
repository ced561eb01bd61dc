"""Answers for API clients: begun once for each request, joined by its retries, ended when the client has left.

If the client leaves before it has the whole answer:

- With an `Idempotency-Key`, the answer is finished and kept. A retry with that key joins it. It is charged once.
- An official OpenAI client that received nothing repeats the request by itself. It sends no key, but a count of its
  attempts. The answer waits a moment for that retry, which takes it over. A retry also takes over an answer that was
  sent whole but got lost on the way.
- If the retry arrived before this attempt had begun its answer, the retry began another one. Then this answer costs
  nothing.
- Otherwise the answer is stopped. The prompt and the tokens produced until then are charged.

If this process dies, an answer with a key goes on and a retry finds it. Any other answer costs nothing, unless a retry
of an official client takes it over first (`deliveries`).
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
MOST_TAKEN_OVER = 100  # a retry may belong to one of so many latest identical requests of its customer
LONGEST_BEGINNING = timedelta(seconds=30)  # from the arrival of a request to its row
OVERTAKEN = "A later attempt of the same request was answered."
UNPAID_STATES = (GenerationState.FAILED, GenerationState.CANCELLED)


@dataclass(frozen=True, slots=True)
class Question:
    """One request as it came in; `idempotency_key` is empty when the client sent none.

    `follows_attempt`: it is a retry, and the attempt before it was not refused. `is_delivered_here`: only this process
    can hand its answer over, since the client has no id or key to fetch it with.
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
        """The most tokens that the answer may have by the request alone."""
        return self.parameters.max_tokens or settings.DEFAULT_MAX_TOKENS


def begin_answer(*, user: User, question: Question) -> Generation:
    """Request an answer, or return the one that an earlier attempt of this request began.

    Raises what `request_generation` raises, for example IdempotencyConflict for a key that was used for another
    request. If the process dies before the commit, nothing is held; if it dies later, a retry finds the generation.
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
    """Stop the answer of a client that left, unless a retry has taken it over."""
    left = Generation.objects.filter(pk=generation_id)
    if attempt is None or left.filter(client_attempt=attempt).update(client_attempt=None):
        stop_generation(generation=left.get())
    deliverer().close(generation_id)


def fail_overtaken(*, generation_id: UUID, attempt: int) -> bool:
    """If a later attempt began an answer of its own, end this one at no cost. Returns whether there is such an attempt.

    Call it for an answer that was begun after its client had left. Then only the answer of the later attempt is
    charged. After False, a retry may still come.
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
    """Free the key from generations that failed or were cancelled: they cost nothing, so it may request again."""
    unpaid = Generation.objects.for_user(user).filter(idempotency_key=key, state__in=UNPAID_STATES)
    for generation in unpaid:
        unpaid.filter(pk=generation.pk).update(idempotency_key=f"unpaid:{generation.pk}")


def _take_over(user: User, question: Question) -> Generation | None:
    """Take over the answer that the attempt before this one waited for or was sent, by one conditional update.

    Answers that were not handed over yet come first. None if there is no answer to take over.
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
    """Have this process hand the answer over to this attempt. False: another attempt was first.

    An answer that was handed over before still counts as handed over: otherwise a client could repeat its request until
    a restart gives it a refund.
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
