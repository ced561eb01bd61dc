"""The life of a generation: requested, stopped, ended, swept. Every change is one transaction."""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.dispatch import Signal
from django.utils import timezone
from django.utils.translation import gettext as _
from kombu.exceptions import OperationalError

from accounts.models import ApiKey, User
from billing import ledger
from core.api.throttles import count_tokens
from inference import answer_cache, relay, silence
from inference.catalogue import ModelUnavailable
from inference.engine.base import Sampling
from inference.hot_path import end_generation, insert_generation
from inference.logprobs import keep_logprobs
from inference.models import LIVE_STATES, CatalogueModel, Generation, GenerationState
from inference.parameters import PAGE, Caller, Parameters
from inference.prompts import (
    Prompt,
    completion_room,
    encode_prompt,
    format_of,
)
from inference.tickets import send_ticket

logger = logging.getLogger(__name__)

# Sent inside the transaction that ends a generation, with `generation`: whoever keeps its text saves it there.
generation_ended = Signal()


class QueueUnavailable(Exception):
    """The broker is down. The hold was released, nothing was charged, and the idempotency key is free again."""

    def __init__(self, generation_id: UUID) -> None:
        super().__init__(
            _("The answering service cannot be reached right now. Nothing was charged; try again in a minute.")
        )
        self.generation_id = generation_id


class AlreadyRequested(Exception):
    """The same request came before, with the same key: `generation` is what it made. Nothing more is charged."""

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
    """SHA-256 of what was asked, to tell a retry from another request under the same key."""
    return hashlib.sha256(json.dumps([str(value) for value in inputs]).encode()).hexdigest()


def refuse_repeat(*, user: User, idempotency_key: str, inputs_hash: str) -> None:
    """Raise AlreadyRequested when this key has made a generation, IdempotencyConflict when it asked otherwise."""
    earlier = Generation.objects.for_user(user).filter(idempotency_key=idempotency_key).first()
    if earlier is None:
        return
    if earlier.inputs_hash != inputs_hash:
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
    """Count the prompt, hold the worst case, insert the row, and queue it on commit; one transaction.

    What the answer cache has is charged and ended at once. What is just being answered for an identical request is
    waited for (`single_flight`).

    Raises ModelNotAllowed, ModelUnavailable, InvalidPrompt (too long, by how many tokens),
    ledger.InsufficientCredits, TooManyAnswers,
    RateLimited for an API client that used up its tokens of this minute, and what `refuse_repeat` raises; once
    committed, QueueUnavailable.
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
    # The answers that the cache has are without log probabilities.
    use = caller.cache if parameters.top_logprobs is None else answer_cache.CacheUse.OFF
    place = answer_cache.find_place(user, request, use)
    if caller is not PAGE:
        tokens = generation.prompt_tokens + generation.requested_completion_tokens
        generation.token_usage = count_tokens(user=user, key=caller.api_key, tokens=tokens)
    try:
        return _hold_and_insert(generation, caller, place)
    except (ledger.LedgerError, TooManyAnswers):
        # The second of two clicks waited for the wallet; what the first one made is its answer, whatever is left.
        refuse_repeat(user=user, idempotency_key=idempotency_key, inputs_hash=inputs_hash)
        raise


def _draft(
    user: User, model: CatalogueModel, prompt: Prompt, parameters: Parameters, sampling: Sampling, caller: Caller
) -> Generation:
    """The row as it was asked for: with its prompt counted, and the most that the model has room for."""
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
def _hold_and_insert(generation: Generation, caller: Caller, place: answer_cache.Place | None) -> Generation:
    if place is not None:
        ledger.lock_wallet(user=generation.user)  # before the key of the cache
    standing = answer_cache.decide_standing(place)
    hold = generation.hold = _way_of_paying(standing.answer, generation.requested_completion_tokens)(
        user=generation.user,
        model_key=generation.model_id,
        prompt_tokens=generation.prompt_tokens,
        reference=f"generation:{generation.pk}",
        api_key=caller.api_key,
    )
    is_cached = standing.answer is not None
    generation.max_completion_tokens = (
        generation.requested_completion_tokens if is_cached else hold.max_completion_tokens
    )
    generation.cache_key, generation.follows = standing.key, standing.follows
    if not insert_generation(generation, settings.MAX_LIVE_GENERATIONS, caller.process_id):
        raise TooManyAnswers(
            _("You have {limit} answers queued or running. Wait until one ends, or stop one.").format(
                limit=settings.MAX_LIVE_GENERATIONS
            )
        )
    if standing.answer is not None:
        return _end_as(generation, standing.answer)
    if standing.leader_id is None:
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


def stop_generation(*, generation: Generation) -> None:
    """Stop an answer: before it began it costs nothing, later the prompt and what was produced. Never fails."""
    if _cancel(generation.pk, GenerationState.QUEUED):
        relay.RelayWriter(generation.pk).end(GenerationState.CANCELLED)
        return
    running = Generation.objects.filter(pk=generation.pk, state=GenerationState.RUNNING)
    if running.update(stop_requested_at=timezone.now()):
        relay.publish_stop(generation.pk)
    elif _cancel(generation.pk, GenerationState.QUEUED):  # a worker that shuts down has just handed it back
        relay.RelayWriter(generation.pk).end(GenerationState.CANCELLED)


def cancel_generation(*, generation_id: UUID) -> None:
    """End an answer that a worker claimed but that was stopped before the engine began: it costs nothing."""
    if _cancel(generation_id, GenerationState.RUNNING):
        relay.RelayWriter(generation_id).end(GenerationState.CANCELLED)


def hand_back_generation(*, generation_id: UUID, state: GenerationState) -> bool:
    """Queue again what this worker took but did not begin; its hold goes on. False when it ended or was stopped.

    `state` is running for what this worker has claimed, else queued. Should the process die between the two steps, or
    the broker be away, a worker finds it after QUEUE_LOOK_SECONDS.
    """
    if not Generation.objects.hand_back(generation_id, state):
        return False
    call_worker(model_key=Generation.objects.values_list("model_id", flat=True).get(pk=generation_id))
    return True


def call_worker(*, model_key: str) -> None:
    """Have a worker look for queued rows of this model. With the broker away, a worker finds them by itself."""
    try:
        send_ticket(model_key)
    except OperationalError:
        logger.warning("queued answers of %s wait for the broker", model_key)


@transaction.atomic
def settle_generation(
    *,
    generation_id: UUID,
    text: str,
    completion_tokens: int,
    finish_reason: str,
    logprobs: Sequence[Any] | None = None,
) -> Generation | None:
    """End a running answer that completed or was stopped: charge it and save it, and its log probabilities if it was
    asked for with them. None when it was ended before."""
    generation = _end(
        generation_id,
        GenerationState.RUNNING,
        state=GenerationState.STOPPED if finish_reason == "cancelled" else GenerationState.COMPLETED,
        text=text,
        completion_tokens=completion_tokens,
        finish_reason=finish_reason,
    )
    if generation is not None:
        ledger.settle_within(hold_id=generation.hold_id, completion_tokens=completion_tokens)
        if logprobs is not None:
            keep_logprobs(generation_id=generation_id, logprobs=logprobs)
        _tell(generation)
    return generation


@transaction.atomic
def repeat_generation(*, generation_id: UUID, answer: Generation) -> Generation | None:
    """End a queued answer that waited for this identical one: with its text, at the cache price. None if it had ended.

    The hold of its worst case is released and the price charged in one transaction. Raises what
    `ledger.charge_from_cache` raises: then the hold stays as it was.
    """
    waiting = Generation.objects.waiting_for(answer.pk).filter(pk=generation_id)
    generation = waiting.select_for_update(of=("self",)).first()
    if generation is None:
        return None
    worst_case = ledger.release(hold_id=generation.hold_id)
    generation.hold = ledger.charge_from_cache(
        user=generation.user,
        model_key=generation.model_id,
        prompt_tokens=generation.prompt_tokens,
        completion_tokens=answer.completion_tokens,
        reference=f"{worst_case.reference}:cached",
        api_key=worst_case.api_key,
    )
    generation.max_completion_tokens = generation.requested_completion_tokens
    generation.save(update_fields=["hold", "max_completion_tokens"])
    return _end_as(generation, answer)


@transaction.atomic
def fail_generation(
    *, generation_id: UUID, error: str, text: str = "", completion_tokens: int = 0, condition: str = "TRUE"
) -> Generation | None:
    """End an answer that failed on our side: it costs nothing, the text that came is kept. None if it had ended.

    `condition` is SQL about its row, which is `g`: it ends only if that holds.
    """
    generation = _end(
        generation_id,
        *LIVE_STATES,
        state=GenerationState.FAILED,
        text=text,
        completion_tokens=completion_tokens,
        finish_reason="error",
        error=error,
        condition=condition,
    )
    if generation is not None:
        ledger.release(hold_id=generation.hold_id)
        _tell(generation)
    return generation


def sweep_generations() -> int:
    """End what nobody works on any more; return how many that were."""
    silence.look()
    is_silent = f"g.state = 'running' AND {silence.is_silent('g.heartbeat_at')}"
    ended = 0
    for generation_id in Generation.objects.silent().values_list("pk", flat=True)[:500]:
        ended += _fail_from_relay(generation_id, _("The machine that was answering stopped."), is_silent)
    for generation_id in Generation.objects.overdue().values_list("pk", flat=True)[:500]:
        ended += _fail_from_relay(generation_id, _("The queue was too long."), "g.state = 'queued'")
    return ended


@transaction.atomic
def _cancel(generation_id: UUID, state: GenerationState) -> bool:
    generation = _end(generation_id, state, state=GenerationState.CANCELLED)
    if generation is None:
        return False
    ledger.release(hold_id=generation.hold_id)
    _tell(generation)
    return True


def _refuse_unavailable(model: CatalogueModel) -> None:
    if not model.is_available:
        raise ModelUnavailable(f"{model.key}: {model.unavailable_reason}")


def _way_of_paying(answer: Generation | None, requested_tokens: int) -> "partial[Any]":
    """Charge what the cache has, exactly; hold the worst case of everything else. Both give a hold."""
    if answer is not None:
        return partial(ledger.charge_from_cache, completion_tokens=answer.completion_tokens)
    return partial(ledger.hold_within, max_completion_tokens=requested_tokens)


def _enqueue_or_fail(generation_id: UUID, model_key: str) -> None:
    """Call a worker. With the broker down, free the hold and the key at once and say so."""
    try:
        send_ticket(model_key)
    except OperationalError as error:
        fail_generation(generation_id=generation_id, error=_("The queue could not be reached."))
        Generation.objects.filter(pk=generation_id).update(idempotency_key=f"unqueued:{generation_id}")
        raise QueueUnavailable(generation_id) from error


def _fail_from_relay(generation_id: UUID, error: str, condition: str) -> bool:
    """End a generation whose worker is gone with the text that reached the relay, if that is still so."""
    text, tokens = relay.read_text(generation_id)
    failed = fail_generation(
        generation_id=generation_id, error=error, text=text, completion_tokens=tokens, condition=condition
    )
    if failed is not None:
        relay.RelayWriter(generation_id).end(GenerationState.FAILED)
        logger.warning("sweep: generation %s ended: %s", generation_id, error)
    return failed is not None


def _end_as(generation: Generation, answer: Generation) -> Generation:
    """End a row that no worker has taken as the identical answer ended. The caller has the row's lock."""
    ended = _end(
        generation.pk,
        GenerationState.QUEUED,
        state=GenerationState.COMPLETED,
        text=answer.text,
        completion_tokens=answer.completion_tokens,
        finish_reason=answer.finish_reason,
    )
    if ended is None:
        raise RuntimeError(f"generation {generation.pk} was ended by somebody else")
    ended.user, ended.model, ended.hold = generation.user, generation.model, generation.hold
    _tell(ended)
    return ended


def _tell(generation: Generation) -> None:
    """Let who keeps the text save it, in the transaction that ends the answer and after its credits moved."""
    generation_ended.send(sender=Generation, generation=generation)


def _end(
    generation_id: UUID,
    *states: GenerationState,
    state: GenerationState,
    text: str = "",
    completion_tokens: int = 0,
    finish_reason: str = "",
    error: str = "",
    condition: str = "TRUE",
) -> Generation | None:
    """End the row if it is in one of `states`. The order of locks: generation, wallet, key of the answer cache."""
    return end_generation(
        generation_id,
        *states,
        state=state,
        text=text.replace("\x00", ""),  # PostgreSQL stores no NUL
        completion_tokens=completion_tokens,
        finish_reason=finish_reason,
        error=error,
        ended_at=timezone.now(),
        condition=condition,
    )
