"""Helps web requests to follow answers without holding a database connection or a thread while they wait."""

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

WAIT_SECONDS = 2.0  # after so long without an entry, the answer's row is read
T = TypeVar("T")

# Our own threads, since those of asgiref end with the request, and `do_afterwards` needs some after it.
_threads = ThreadPoolExecutor(max_workers=16, thread_name_prefix="api")
_afterwards: set[asyncio.Task[Any]] = set()


async def in_own_thread(function: Callable[[], T]) -> T:
    """Run a function with queries in a thread, and return its connection to the pool right after it.

    If the caller is cancelled, a function that has begun still runs to its end.
    """

    def run() -> T:
        try:
            return function()
        finally:
            connection.close()

    return await asyncio.get_running_loop().run_in_executor(_threads, contextvars.copy_context().run, run)


async def read_patiently(function: Callable[[], T]) -> T:
    """As `in_own_thread`, for a read, which is tried again while the database restarts."""
    return await in_own_thread(partial(try_again_while_the_database_is_away, function))


def is_live(generation_id: UUID) -> bool | None:
    """A `look` for `follow_to_end`: True while the answer is queued or running, then None."""
    return Generation.objects.live().filter(pk=generation_id).exists() or None


async def follow_to_end(
    generation_id: UUID, look: Callable[[UUID], T | None], after: str = streams.BEGINNING
) -> AsyncGenerator[tuple[list[streams.Chunk], T | None]]:
    """Yield the entries after the id `after` as they come, each list with None.

    After WAIT_SECONDS without an entry, yield an empty list with what `look` read from the answer's row. Ends after the
    last entry of the answer, or when `look` returns None.
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
    """Run `work` in a task of its own, for a client that has left and whose task was cancelled."""
    task = asyncio.get_running_loop().create_task(work)
    _afterwards.add(task)  # the loop itself keeps only a weak reference
    task.add_done_callback(_forget)


def _forget(task: asyncio.Task[Any]) -> None:
    _afterwards.discard(task)
    if not task.cancelled() and task.exception() is not None:
        logger.error("what followed a client that left went wrong", exc_info=task.exception())
