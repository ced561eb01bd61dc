"""Identical deterministic requests at once: one is answered, the others wait for it and repeat its answer.

The one that is answered leads; the others are queued and name it in `follows`, so that no worker takes them. Each holds
its own worst case until then. When the leader ends, they are given its answer at the cache price; when it did not
complete, the next of them leads. PostgreSQL decides who leads. Every step may be done again: should a process die
between two of them, `sweep_followers` goes on.
"""

import logging
from functools import partial
from uuid import UUID

from celery import current_app
from django.db import transaction
from kombu.exceptions import OperationalError

from billing.ledger import LedgerError
from inference import answer_cache
from inference.generations.endings import hand_back_generation, repeat_generation
from inference.models import Generation, GenerationState
from inference.relay import writer as relay_writer

logger = logging.getLogger(__name__)


def note_end(generation: Generation) -> None:
    """In the transaction that ends an answer: once it has committed, cache it, and see to those that wait for it.

    Whoever joins at this moment has the key's lock and is seen here after it, or waits for it and finds the end.
    """
    if not generation.cache_key or generation.follows is not None:
        return
    answer_cache.lock_key(generation.cache_key)
    if answer_cache.is_repeatable(generation):
        transaction.on_commit(partial(answer_cache.store, generation), robust=True)
    if Generation.objects.waiting_for(generation.pk).exists():
        transaction.on_commit(partial(_send, generation.pk), robust=True)


def pass_on(*, leader_id: UUID) -> None:
    """Give the followers of an answer that has ended what it says; those it has nothing for are generated."""
    leader = Generation.objects.get(pk=leader_id)
    if leader.is_live:
        return
    if answer_cache.is_repeatable(leader):
        for follower in Generation.objects.waiting_for(leader_id).only("pk"):
            _repeat(follower.pk, leader)
    next_id = _choose_next(leader_id)
    if next_id is not None:
        hand_back_generation(generation_id=next_id, state=GenerationState.QUEUED)


def sweep_followers() -> int:
    """See to those whose leader has ended and who were forgotten; return how many leaders that were."""
    forgotten = Generation.objects.followers().exclude(follows__in=Generation.objects.live().values("pk"))
    leader_ids = list(forgotten.order_by("follows").values_list("follows", flat=True).distinct()[:500])
    for leader_id in filter(None, leader_ids):
        pass_on(leader_id=leader_id)
    return len(leader_ids)


def _send(leader_id: UUID) -> None:
    """To the default queue: who has just ended an answer has others to write."""
    try:
        current_app.send_task("inference.pass_on", kwargs={"leader_id": str(leader_id)}, queue="default")
    except OperationalError:
        logger.warning("the followers of generation %s wait for the sweeper: the broker is away", leader_id)


def _repeat(follower_id: UUID, leader: Generation) -> None:
    try:
        ended = repeat_generation(generation_id=follower_id, answer=leader)
    except LedgerError as error:  # something was taken from the wallet meanwhile: its hold still pays for an answer
        logger.info("generation %s is not answered from the cache: %s", follower_id, error)
        return
    if ended is not None:
        writer = relay_writer.RelayWriter(follower_id)
        writer.write(ended.text, ended.completion_tokens)
        writer.end(ended.state)


@transaction.atomic
def _choose_next(leader_id: UUID) -> UUID | None:
    """Let the first that still waits lead the others; return it, or None when a new request leads them, or none waits.

    Order of locks: the rows, then the key.
    """
    waiting = list(Generation.objects.waiting_for(leader_id).select_for_update(of=("self",)).only("pk", "cache_key"))
    if not waiting:
        return None
    key = waiting[0].cache_key
    answer_cache.lock_key(key)
    leading = Generation.objects.leading(key).values_list("pk", flat=True).first()
    rows = Generation.objects.filter(pk__in=[row.pk for row in waiting])
    rows.update(follows=leading or waiting[0].pk)
    if leading is not None:
        return None
    Generation.objects.filter(pk=waiting[0].pk).update(follows=None)
    return waiting[0].pk
