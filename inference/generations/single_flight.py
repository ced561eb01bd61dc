"""Answers identical deterministic requests once: one is generated, the others wait for it and repeat its answer.

The generation that is answered is the leader. The others are its followers: they are queued and have its id in
`follows`, so that no worker takes them. Each follower holds its own worst-case cost while it waits. When the leader
completes, its followers get its answer at the cache price. If it ends in another way, the next follower becomes the
leader. PostgreSQL decides which one leads. Every step can be repeated: if a process dies between two steps,
`sweep_followers` continues.
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
    """After this transaction's commit, put the answer into the cache and start `pass_on` if it has followers.

    Call it in the transaction that ends the answer. A request that joins at this moment either took the key's lock
    first, and is seen here; or it waits for the lock, and then finds that the answer has ended.
    """
    if not generation.cache_key or generation.follows is not None:
        return
    answer_cache.lock_key(generation.cache_key)
    if answer_cache.is_repeatable(generation):
        transaction.on_commit(partial(answer_cache.store, generation), robust=True)
    if Generation.objects.waiting_for(generation.pk).exists():
        transaction.on_commit(partial(_send, generation.pk), robust=True)


def pass_on(*, leader_id: UUID) -> None:
    """Give the followers of an ended answer its text. If some cannot get it, the oldest of these is generated next."""
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
    """Call `pass_on` again for leaders that have ended and still have followers. Returns the number of leaders."""
    forgotten = Generation.objects.followers().exclude(follows__in=Generation.objects.live().values("pk"))
    leader_ids = list(forgotten.order_by("follows").values_list("follows", flat=True).distinct()[:500])
    for leader_id in filter(None, leader_ids):
        pass_on(leader_id=leader_id)
    return len(leader_ids)


def _send(leader_id: UUID) -> None:
    """Send the task `pass_on` to the default queue, since the worker that ended the answer has others to write."""
    try:
        current_app.send_task("inference.pass_on", kwargs={"leader_id": str(leader_id)}, queue="default")
    except OperationalError:
        logger.warning("the followers of generation %s wait for the sweeper: the broker is away", leader_id)


def _repeat(follower_id: UUID, leader: Generation) -> None:
    try:
        ended = repeat_generation(generation_id=follower_id, answer=leader)
    except LedgerError as error:  # the wallet lost credits in the meantime; the hold still pays for a generated answer
        logger.info("generation %s is not answered from the cache: %s", follower_id, error)
        return
    if ended is not None:
        writer = relay_writer.RelayWriter(follower_id)
        writer.write(ended.text, ended.completion_tokens)
        writer.end(ended.state)


@transaction.atomic
def _choose_next(leader_id: UUID) -> UUID | None:
    """Make the oldest follower the leader of the others and return its id.

    Returns None if no follower waits, or if a newer request already leads this key: then they follow that one. Locks
    the rows first, then the key.
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
