"""The life of a generation: requested, stopped, ended, swept. Every change is one transaction."""

import hashlib
import json
import logging
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID, uuid4

from celery import current_app
from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.dispatch import Signal
from django.utils import timezone
from django.utils.translation import gettext as _
from kombu.exceptions import OperationalError

from accounts.api_limits import count_tokens
from accounts.models import ApiKey, User
from billing import ledger
from inference import relay
from inference.catalogue import ModelUnavailable
from inference.engine.base import MAX_TOP_K
from inference.models import CatalogueModel, Generation, GenerationState
from inference.prompts import InvalidPrompt, Prompt, completion_room, encode_prompt

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


class TooManyAnswers(Exception):
    """This user has MAX_LIVE_GENERATIONS answers queued or running: one has to end first."""


@dataclass(frozen=True, slots=True)
class Caller:
    """How an answer was asked for when it was not on a page.

    `api_key` is what they asked with, None for a log-in: its monthly cap holds too. `end_user` is what the client
    calls its own user. `attempt` counts the automatic retries of an official OpenAI
    client, from 0; None for everybody else.
    """

    api_key: ApiKey | None = None
    end_user: str = ""
    attempt: int | None = None


PAGE = Caller()


@dataclass(frozen=True, slots=True)
class Parameters:
    """How to answer. Raises InvalidPrompt for values out of range."""

    max_tokens: int | None = None
    temperature: float = 0.8
    top_p: float = 0.95
    top_k: int = MAX_TOP_K
    seed: int | None = None
    stop: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        rules = {
            _("Temperature is between 0 and 2."): 0 <= self.temperature <= 2,
            _("Top-p is above 0 and at most 1."): 0 < self.top_p <= 1,
            _("Top-k is between 1 and {most}.").format(most=MAX_TOP_K): 1 <= self.top_k <= MAX_TOP_K,
            _("The length is at least 1 token."): self.max_tokens is None or self.max_tokens >= 1,
            _("At most 4 stop strings of 1 to 200 characters."): len(self.stop) <= 4
            and all(1 <= len(text) <= 200 for text in self.stop),
        }
        for rule, holds in rules.items():
            if not holds:
                raise InvalidPrompt(rule)


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


@transaction.atomic
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
    """Count the prompt, hold the worst case, insert the row, and queue it on commit.

    Raises ModelUnavailable, InvalidPrompt (too long, by how many tokens), ledger.InsufficientCredits, TooManyAnswers,
    RateLimited for an API client that used up its tokens of this minute, and what `refuse_repeat` raises; once
    committed, QueueUnavailable.
    """
    if not model.is_available:
        raise ModelUnavailable(
            _("{name} cannot answer now. {reason}").format(name=model.name, reason=model.unavailable_reason)
        )
    prompt_token_ids = encode_prompt(model=model, prompt=prompt)
    requested_tokens = completion_room(model, len(prompt_token_ids), parameters.max_tokens)
    ledger.lock_wallet(user=user)  # two clicks at once: the second waits here, then finds the first
    refuse_repeat(user=user, idempotency_key=idempotency_key, inputs_hash=inputs_hash)
    _refuse_crowd(user)
    generation_id = uuid4()
    hold = ledger.hold(
        user=user,
        model_key=model.key,
        prompt_tokens=len(prompt_token_ids),
        max_completion_tokens=requested_tokens,
        reference=f"generation:{generation_id}",
        api_key=caller.api_key,
    )
    if caller is not PAGE:
        reserved_tokens = len(prompt_token_ids) + hold.max_completion_tokens
        count_tokens(user=user, key=caller.api_key, tokens=reserved_tokens)
    generation = Generation.objects.create(
        id=generation_id,
        user=user,
        model=model,
        hold=hold,
        idempotency_key=idempotency_key,
        inputs_hash=inputs_hash,
        prompt_token_ids=prompt_token_ids,
        prompt_tokens=len(prompt_token_ids),
        max_completion_tokens=hold.max_completion_tokens,
        requested_completion_tokens=requested_tokens,
        temperature=parameters.temperature,
        top_p=parameters.top_p,
        top_k=parameters.top_k,
        seed=secrets.randbits(31) if parameters.seed is None else parameters.seed,
        stop=list(parameters.stop),
        end_user=caller.end_user,
        client_attempt=caller.attempt,
    )
    transaction.on_commit(partial(_enqueue_or_fail, generation.pk, model.queue))
    return generation


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
    the broker be away, the sweeper queues it after QUEUE_RESEND_SECONDS.
    """
    if not Generation.objects.hand_back(generation_id, state):
        return False
    generation = Generation.objects.select_related("model").get(pk=generation_id)
    try:
        _enqueue(generation.pk, generation.model.queue)
    except OperationalError:
        logger.warning("generation %s waits for the sweeper: the broker is away", generation_id)
    return True


@transaction.atomic
def settle_generation(
    *, generation_id: UUID, text: str, completion_tokens: int, finish_reason: str
) -> Generation | None:
    """End a running answer that completed or was stopped: charge it and save it. None when it was ended before."""
    generation = _lock(generation_id, GenerationState.RUNNING)
    if generation is None:
        return None
    ledger.settle(hold_id=generation.hold_id, completion_tokens=completion_tokens)
    state = GenerationState.STOPPED if finish_reason == "cancelled" else GenerationState.COMPLETED
    _end(generation, state=state, text=text, completion_tokens=completion_tokens, finish_reason=finish_reason)
    return generation


@transaction.atomic
def fail_generation(
    *, generation_id: UUID, error: str, text: str = "", completion_tokens: int = 0
) -> Generation | None:
    """End an answer that failed on our side: it costs nothing, the text that came is kept. None if it had ended."""
    generation = _lock(generation_id, GenerationState.QUEUED, GenerationState.RUNNING)
    if generation is None:
        return None
    ledger.release(hold_id=generation.hold_id)
    _end(
        generation,
        state=GenerationState.FAILED,
        text=text,
        completion_tokens=min(completion_tokens, generation.max_completion_tokens),
        finish_reason="error",
        error=error,
    )
    return generation


def sweep_generations() -> int:
    """End what nobody works on any more, send again what the queue may have lost; return how many were ended."""
    now = timezone.now()
    overdue = Q(state=GenerationState.QUEUED, created_at__lt=now - timedelta(seconds=settings.QUEUE_WAIT_SECONDS))
    ended = 0
    for generation in Generation.objects.silent().union(Generation.objects.filter(overdue))[:500]:
        if generation.state == GenerationState.QUEUED:
            error = _("The queue was too long.")
        else:
            error = _("The machine that was answering stopped.")
        ended += _fail_from_relay(generation.pk, error)
    _resend_lost(now - timedelta(seconds=settings.QUEUE_RESEND_SECONDS))
    return ended


@transaction.atomic
def _cancel(generation_id: UUID, state: GenerationState) -> bool:
    generation = _lock(generation_id, state)
    if generation is None:
        return False
    ledger.release(hold_id=generation.hold_id)
    _end(generation, state=GenerationState.CANCELLED)
    return True


def _refuse_crowd(user: User) -> None:
    """Counted under the wallet's lock, so that requests at once do not slip past each other."""
    if Generation.objects.for_user(user).live().count() >= settings.MAX_LIVE_GENERATIONS:
        raise TooManyAnswers(
            _("You have {limit} answers queued or running. Wait until one ends, or stop one.").format(
                limit=settings.MAX_LIVE_GENERATIONS
            )
        )


def _enqueue_or_fail(generation_id: UUID, queue: str) -> None:
    """Publish the task. With the broker down, free the hold and the key at once and say so."""
    try:
        _enqueue(generation_id, queue)
    except OperationalError as error:
        fail_generation(generation_id=generation_id, error=_("The queue could not be reached."))
        Generation.objects.filter(pk=generation_id).update(idempotency_key=f"unqueued:{generation_id}")
        raise QueueUnavailable(generation_id) from error


def _enqueue(generation_id: UUID, queue: str) -> None:
    current_app.send_task("inference.generate", kwargs={"generation_id": str(generation_id)}, queue=queue)


def _resend_lost(limit: datetime) -> None:
    """Publish again what has waited since before `limit`: a worker that died may have taken the task with it."""
    waiting = Generation.objects.filter(state=GenerationState.QUEUED, enqueued_at__lt=limit)
    for generation in waiting.select_related("model").order_by("created_at")[:500]:
        try:
            _enqueue(generation.pk, generation.model.queue)
        except OperationalError:
            logger.warning("sweep: the broker is away, queued generations wait")
            return
        Generation.objects.filter(pk=generation.pk).update(enqueued_at=timezone.now())


def _fail_from_relay(generation_id: UUID, error: str) -> bool:
    """End a generation whose worker is gone with the text that reached the relay."""
    text, tokens = relay.read_text(generation_id)
    failed = fail_generation(generation_id=generation_id, error=error, text=text, completion_tokens=tokens)
    if failed is not None:
        relay.RelayWriter(generation_id).end(GenerationState.FAILED)
        logger.warning("sweep: generation %s ended: %s", generation_id, error)
    return failed is not None


def _lock(generation_id: UUID, *states: GenerationState) -> Generation | None:
    """Lock the row if it is in one of these states. Order of locks everywhere: generation, then wallet."""
    return Generation.objects.select_for_update(of=("self",)).filter(pk=generation_id, state__in=states).first()


def _end(
    generation: Generation,
    *,
    state: GenerationState,
    text: str = "",
    completion_tokens: int = 0,
    finish_reason: str = "",
    error: str = "",
) -> None:
    generation.state = state
    generation.text = text.replace("\x00", "")  # PostgreSQL stores no NUL
    generation.completion_tokens = completion_tokens
    generation.finish_reason = finish_reason
    generation.error = error
    generation.prompt_token_ids = []
    generation.ended_at = timezone.now()
    generation.save(
        update_fields=[
            "state",
            "text",
            "completion_tokens",
            "finish_reason",
            "error",
            "prompt_token_ids",
            "ended_at",
        ]
    )
    generation_ended.send(sender=Generation, generation=generation)


def queue_position(generation: Generation) -> int:
    """How many generations of this model wait before this one."""
    return Generation.objects.filter(
        model_id=generation.model_id, state=GenerationState.QUEUED, created_at__lt=generation.created_at
    ).count()
