"""Ends generations: completed, stopped, cancelled, failed, repeated from an identical answer, or swept.

Each end, with its charge or release of the hold, is one transaction.
"""

import logging
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db import transaction
from django.dispatch import Signal
from django.utils import timezone
from django.utils.translation import gettext as _
from kombu.exceptions import OperationalError

from billing import ledger
from inference import heartbeats
from inference.generations.logprobs import keep_logprobs
from inference.generations.statements import TokenTimes, end_generation
from inference.generations.tickets import send_ticket
from inference.models import LIVE_STATES, Generation, GenerationState
from inference.relay import streams, writer

logger = logging.getLogger(__name__)


# Sent with `generation` inside the transaction that ends it: receivers that keep its text save it in that transaction.
generation_ended = Signal()


def stop_generation(*, generation: Generation) -> None:
    """Stop an answer. If it has not begun it costs nothing, else the prompt and what was produced. Never fails."""
    if _cancel(generation.pk, GenerationState.QUEUED):
        writer.RelayWriter(generation.pk).end(GenerationState.CANCELLED)
        return
    running = Generation.objects.filter(pk=generation.pk, state=GenerationState.RUNNING)
    if running.update(stop_requested_at=timezone.now()):
        streams.publish_stop(generation.pk)
    elif _cancel(generation.pk, GenerationState.QUEUED):  # a worker that shuts down has just handed it back
        writer.RelayWriter(generation.pk).end(GenerationState.CANCELLED)


def cancel_generation(*, generation_id: UUID) -> None:
    """End an answer that a worker claimed but that was stopped before the engine began. It costs nothing."""
    if _cancel(generation_id, GenerationState.RUNNING):
        writer.RelayWriter(generation_id).end(GenerationState.CANCELLED)


def hand_back_generation(*, generation_id: UUID, state: GenerationState) -> bool:
    """Queue a generation again that was not begun, and call a worker. False if it has ended or was stopped.

    Its hold stays active. `state` is its state now: running if this worker claimed it, else queued. If the process dies
    between the two steps, or the broker is away, a worker finds the row after QUEUE_LOOK_SECONDS.
    """
    if not Generation.objects.hand_back(generation_id, state):
        return False
    call_worker(model_key=Generation.objects.values_list("model_id", flat=True).get(pk=generation_id))
    return True


def call_worker(*, model_key: str) -> None:
    """Have a worker look for queued rows of this model. While the broker is away, workers find them by themselves."""
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
    token_times: TokenTimes | None = None,
) -> Generation | None:
    """Charge and save a running answer that completed or was stopped, with its log probabilities unless None.

    Returns None if it had ended before.
    """
    generation = _end(
        generation_id,
        GenerationState.RUNNING,
        state=GenerationState.STOPPED if finish_reason == "cancelled" else GenerationState.COMPLETED,
        text=text,
        completion_tokens=completion_tokens,
        finish_reason=finish_reason,
        token_times=token_times,
    )
    if generation is not None:
        ledger.settle_within(hold_id=generation.hold_id, completion_tokens=completion_tokens)
        if logprobs is not None:
            keep_logprobs(generation_id=generation_id, logprobs=logprobs)
        _tell(generation)
    return generation


@transaction.atomic
def repeat_generation(*, generation_id: UUID, answer: Generation) -> Generation | None:
    """End a queued follower with the text of the identical `answer`, at the cache price. None if it had ended.

    One transaction releases the hold of its worst case and charges the price. Raises what `ledger.charge_from_cache`
    raises; then the hold stays as it was.
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
    return end_as(generation, answer)


@transaction.atomic
def fail_generation(
    *, generation_id: UUID, error: str, text: str = "", completion_tokens: int = 0, condition: str = "TRUE"
) -> Generation | None:
    """End an answer that failed on our side. It costs nothing; its text so far is kept. None if it had ended.

    `condition` is SQL about its row `g`; only if it holds does the answer end.
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
    """Fail running answers whose worker is silent and answers that were queued too long. Returns their number."""
    heartbeats.look()
    is_silent = f"g.state = 'running' AND {heartbeats.is_silent('g.heartbeat_at')}"
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


def _fail_from_relay(generation_id: UUID, error: str, condition: str) -> bool:
    """Fail a generation with the text that reached the relay, if `condition` still holds for it."""
    text, tokens = streams.read_text(generation_id)
    failed = fail_generation(
        generation_id=generation_id, error=error, text=text, completion_tokens=tokens, condition=condition
    )
    if failed is not None:
        writer.RelayWriter(generation_id).end(GenerationState.FAILED)
        logger.warning("sweep: generation %s ended: %s", generation_id, error)
    return failed is not None


def end_as(generation: Generation, answer: Generation) -> Generation:
    """End a queued row with the text, length and finish reason of an identical answer. The caller locked the row."""
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
    """Send `generation_ended`, in the transaction that ends the answer and after the ledger's entries were written."""
    generation_ended.send(sender=Generation, generation=generation)


def _end(
    generation_id: UUID,
    *states: GenerationState,
    state: GenerationState,
    text: str = "",
    completion_tokens: int = 0,
    finish_reason: str = "",
    error: str = "",
    token_times: TokenTimes | None = None,
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
        token_times=token_times,
        condition=condition,
    )
