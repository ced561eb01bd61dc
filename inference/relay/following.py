"""Waiting for answers without holding a database connection, a thread or a slot longer than needed."""

import asyncio
import contextvars
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from django.db import connection

from core.postgresql.retrying import try_again_while_the_database_is_away
from inference.models import Generation
from inference.relay import streams
from inference.relay.reader import follow

logger = logging.getLogger(__name__)

WAIT_SECONDS = 2.0  # how often a silent answer is looked up in the database
T = TypeVar("T")

# Our own threads: those of asgiref end with the request, and what follows a client that left must still run.
_threads = ThreadPoolExecutor(max_workers=16, thread_name_prefix="api")
_afterwards: set[asyncio.Task[Any]] = set()


async def in_own_thread(function: Callable[[], T]) -> T:
    """Run a query in a thread and give its connection back at once. Cancelled, what has begun is finished."""

    def run() -> T:
        try:
            return function()
        finally:
            connection.close()

    return await asyncio.get_running_loop().run_in_executor(_threads, contextvars.copy_context().run, run)


async def read_patiently(function: Callable[[], T]) -> T:
    """As `in_own_thread`, for a read that waits while the database restarts."""
    return await in_own_thread(partial(try_again_while_the_database_is_away, function))


def is_live(generation_id: UUID) -> bool | None:
    """For `follow_to_end`, where nothing else is asked of a silent answer."""
    return Generation.objects.live().filter(pk=generation_id).exists() or None


async def follow_to_end(
    generation_id: UUID, look: Callable[[UUID], T | None], after: str = streams.BEGINNING
) -> AsyncGenerator[tuple[list[streams.Chunk], T | None]]:
    """Yield the entries after `after` as they come; after a silence none, and what `look` says of the answer's row.

    Ends when the answer has ended: after its last entry, or when `look` returns None.
    """
    async with aclosing(follow(generation_id, after, WAIT_SECONDS)) as batches:
        async for chunks in batches:
            found = None
            if not chunks:
                found = await read_patiently(partial(look, generation_id))
                if found is None:
                    return
            if not chunks or any(chunk.text or chunk.notice for chunk in chunks):
                yield chunks, found
            if any(chunk.state for chunk in chunks):
                return


def do_afterwards(work: Coroutine[Any, Any, None]) -> None:
    """Run what has to be done for a client that is gone, when its own task is cancelled already."""
    task = asyncio.get_running_loop().create_task(work)
    _afterwards.add(task)  # the loop itself keeps only a weak reference
    task.add_done_callback(_forget)


def _forget(task: asyncio.Task[Any]) -> None:
    _afterwards.discard(task)
    if not task.cancelled() and task.exception() is not None:
        logger.error("what followed a client that left went wrong", exc_info=task.exception())
