"""Requests an answer: counts its prompt, holds its worst-case cost, and queues its row, in one transaction."""

import hashlib
import json
from dataclasses import asdict
from functools import partial
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext as _
from kombu.exceptions import OperationalError

from accounts.models import ApiKey, User
from billing import ledger
from core.repeats import asked_the_same
from core.rest.throttles import count_tokens
from inference import answer_cache
from inference.catalogue import ModelUnavailable
from inference.engine.base import Sampling
from inference.generations.endings import end_as, fail_generation
from inference.generations.parameters import PAGE, Caller, Parameters
from inference.generations.statements import insert_generation
from inference.generations.tickets import send_ticket
from inference.models import CatalogueModel, Generation
from inference.prompting.prompts import Prompt, completion_room, encode_prompt, format_of


class QueueUnavailable(Exception):
    """The broker is down. The hold was released, nothing was charged, and the idempotency key is free again."""

    def __init__(self, generation_id: UUID) -> None:
        super().__init__(
            _("The answering service cannot be reached right now. Nothing was charged; try again in a minute.")
        )
        self.generation_id = generation_id


class AlreadyRequested(Exception):
    """The same request came before with the same key. `generation` is its answer; nothing more is charged."""

    def __init__(self, generation: Generation) -> None:
        super().__init__(str(generation))
        self.generation = generation


class IdempotencyConflict(Exception):
    """The idempotency key was used before, for another request."""


class ModelNotAllowed(Exception):
    """The API key is limited to other models."""


class TooManyAnswers(Exception):
    """This user has MAX_LIVE_GENERATIONS answers queued or running: one has to end first."""


def hash_inputs(*inputs: object) -> str:
    """SHA-256 of a request, to tell a retry from another request with the same key."""
    return hashlib.sha256(json.dumps([str(value) for value in inputs]).encode()).hexdigest()


def refuse_repeat(*, user: User, idempotency_key: str, inputs_hash: str) -> None:
    """Raise AlreadyRequested if this key was used for the same request, IdempotencyConflict if for another one."""
    earlier = Generation.objects.for_user(user).filter(idempotency_key=idempotency_key).first()
    if earlier is None:
        return
    if not asked_the_same(earlier, inputs_hash=inputs_hash):
        raise IdempotencyConflict(_("This form was already sent with another message. Reload the page."))
    raise AlreadyRequested(earlier)


def request_generation(
    *,
    user: User,
    model: CatalogueModel,
    prompt: Prompt,
    parameters: Parameters,
    idempotency_key: str,
    inputs_hash: str,
    caller: Caller = PAGE,
) -> Generation:
    """Count the prompt, hold the worst-case cost, insert the row, and queue it on commit; one transaction.

    If the answer cache has the answer, it is charged and the generation ends immediately. If an identical request is
    being answered, the generation waits for that answer (`single_flight`).

    Raises ModelNotAllowed, ModelUnavailable, InvalidPrompt (too long, by how many tokens), ledger.InsufficientCredits,
    TooManyAnswers, RateLimited for an API client that used up its tokens of this minute, and what `refuse_repeat`
    raises. After the commit: QueueUnavailable.
    """
    refuse_other_models(caller.api_key, model)
    _refuse_unavailable(model)
    sampling = parameters.sampling_of(model)
    generation = _draft(user, model, prompt, parameters, sampling, caller)
    generation.idempotency_key, generation.inputs_hash = idempotency_key, inputs_hash
    request = answer_cache.Request(
        model,
        generation.prompt_format,
        generation.prompt_token_ids,
        generation.requested_completion_tokens,
        sampling,
        parameters.stop,
        parameters.seed is not None,
    )
    # Answers in the cache have no log probabilities.
    use = caller.cache if parameters.top_logprobs is None else answer_cache.CacheUse.OFF
    lookup = answer_cache.look_up(user, request, use)
    if caller is not PAGE:
        tokens = generation.prompt_tokens + generation.requested_completion_tokens
        generation.token_usage = count_tokens(user=user, key=caller.api_key, tokens=tokens)
    try:
        return _hold_and_insert(generation, caller, lookup)
    except (ledger.LedgerError, TooManyAnswers):
        # This may be the second of two clicks, which waited for the wallet: then it gets the answer of the first one,
        # even if the balance is not enough for another.
        refuse_repeat(user=user, idempotency_key=idempotency_key, inputs_hash=inputs_hash)
        raise


def _draft(
    user: User, model: CatalogueModel, prompt: Prompt, parameters: Parameters, sampling: Sampling, caller: Caller
) -> Generation:
    """The row of the request, not saved yet: with its prompt counted, and its length limited to the model's context."""
    prompt_token_ids = encode_prompt(model=model, prompt=prompt)
    return Generation(
        user=user,
        model=model,
        prompt_format=format_of(model, prompt),
        prompt_token_ids=prompt_token_ids,
        prompt_tokens=len(prompt_token_ids),
        requested_completion_tokens=completion_room(model, len(prompt_token_ids), parameters.max_tokens),
        stop=list(parameters.stop),
        top_logprobs=parameters.top_logprobs,
        **asdict(sampling),
        end_user=caller.end_user,
        client_attempt=caller.attempt,
    )


@transaction.atomic
def _hold_and_insert(generation: Generation, caller: Caller, lookup: answer_cache.Lookup | None) -> Generation:
    if lookup is not None:
        ledger.lock_wallet(user=generation.user)  # before the key of the cache
    decision = answer_cache.decide(lookup)
    _pay(generation, caller.api_key, decision.answer)
    is_cached = decision.answer is not None
    generation.max_completion_tokens = (
        generation.requested_completion_tokens if is_cached else generation.hold.max_completion_tokens
    )
    generation.cache_key, generation.follows = decision.key, decision.follows
    if not insert_generation(generation, settings.MAX_LIVE_GENERATIONS, caller.process_id):
        raise TooManyAnswers(
            _("You have {limit} answers queued or running. Wait until one ends, or stop one.").format(
                limit=settings.MAX_LIVE_GENERATIONS
            )
        )
    if decision.answer is not None:
        return end_as(generation, decision.answer)
    if decision.leader_id is None:
        transaction.on_commit(partial(_enqueue_or_fail, generation.pk, generation.model_id))
    return generation


def refuse_other_models(api_key: ApiKey | None, model: CatalogueModel) -> None:
    """Raise ModelNotAllowed for a key that is limited to other models."""
    if api_key is not None and not api_key.may_ask(model.key):
        raise ModelNotAllowed(
            _("This API key may not ask {name}. It may ask: {models}.").format(
                name=model.name, models=", ".join(api_key.allowed_models)
            )
        )


def _refuse_unavailable(model: CatalogueModel) -> None:
    if not model.is_available:
        raise ModelUnavailable(f"{model.key}: {model.unavailable_reason}")


def _pay(generation: Generation, api_key: ApiKey | None, cached: Generation | None) -> None:
    """Charge an answer from the cache exactly, or hold the worst-case cost of a new one. Sets `generation.hold`."""
    asked: dict[str, Any] = {
        "user": generation.user,
        "model_key": generation.model_id,
        "prompt_tokens": generation.prompt_tokens,
        "reference": f"generation:{generation.pk}",
        "api_key": api_key,
    }
    if cached is not None:
        generation.hold = ledger.charge_from_cache(**asked, completion_tokens=cached.completion_tokens)
    else:
        generation.hold = ledger.hold_within(**asked, max_completion_tokens=generation.requested_completion_tokens)


def _enqueue_or_fail(generation_id: UUID, model_key: str) -> None:
    """Call a worker. If the broker is down, release the hold, free the key, and raise QueueUnavailable."""
    try:
        send_ticket(model_key)
    except OperationalError as error:
        fail_generation(generation_id=generation_id, error=_("The queue could not be reached."))
        Generation.objects.filter(pk=generation_id).update(idempotency_key=f"unqueued:{generation_id}")
        raise QueueUnavailable(generation_id) from error
