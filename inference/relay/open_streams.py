"""Limits how many streams of answers one user may have open, on the pages and through /api/v1 together.

Each open stream has a slot: a member of its user's sorted set in Redis, whose score is the second in which it expires.
The process that serves the stream renews the slot every RENEW_SECONDS and removes it when the stream is over. So the
slots of a killed process expire after LEASE_SECONDS. While Redis is away, no stream is refused. Streams of /v1 have no
slot: docs/adr/0040.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from uuid import uuid4

import redis
from django.conf import settings
from django.utils.translation import gettext as _

from accounts.models import User
from core.rest.throttles import RateLimited
from inference.answer_cache import connection
from inference.relay.following import do_afterwards, in_own_thread

logger = logging.getLogger(__name__)

LEASE_SECONDS = 15  # of a slot, unless it is renewed
RENEW_SECONDS = 5.0
WAIT_SECONDS = 5  # what a refused client is told to wait: any stream of theirs may end at any moment

# Takes or renews the slot ARGV[1] for ARGV[3] seconds, unless ARGV[2] slots are taken. Uses the clock of Redis, since
# the clocks of web machines may differ.
TAKE = """
local now = tonumber(redis.call('TIME')[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then
    return 0
end
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
"""


@dataclass(frozen=True, slots=True)
class Slot:
    """One stream's member `name` in its user's sorted set `key`."""

    key: str
    name: str


def take_slot(user: User) -> Slot | None:
    """Take a slot for one more stream of this user; None while Redis is away. Raises RateLimited when all are taken.

    `keep_slot` renews and frees the slot. If it is never called, the slot expires after LEASE_SECONDS.
    """
    slot = Slot(f"streams:{user.pk}", str(uuid4()))
    most = settings.MAX_OPEN_STREAMS_OF_USER
    try:
        if _hold(slot, most):
            return slot
    except redis.RedisError as error:
        logger.warning("open streams are not counted: %s", error)
        return None
    text = _("{limit} streams at once are allowed here, and all are open. Close one, or wait {seconds} seconds.")
    raise RateLimited(WAIT_SECONDS, text.format(limit=most, seconds=WAIT_SECONDS))


async def keep_slot(slot: Slot | None, events: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """Yield the events of a stream. Renews its slot meanwhile, and frees it when they end or the client leaves."""
    ended = asyncio.Event()
    if slot is not None:
        do_afterwards(_keep_until(ended, slot))
    try:
        async with aclosing(events):
            async for event in events:
                yield event
    finally:
        ended.set()


async def _keep_until(ended: asyncio.Event, slot: Slot) -> None:
    """Renew the slot until the stream has ended, then free it. One task does both: no renewal comes after the end."""
    while not ended.is_set():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RENEW_SECONDS):
                await ended.wait()
        with contextlib.suppress(redis.RedisError):
            await in_own_thread(partial(_free if ended.is_set() else _renew, slot))


def _renew(slot: Slot) -> None:
    """Renew without a limit: an open stream goes on, even if Redis lost its slot and other streams took them all."""
    _hold(slot, 2**31)


def _hold(slot: Slot, most: int) -> bool:
    return bool(connection().eval(TAKE, 1, slot.key, slot.name, most, LEASE_SECONDS))


def _free(slot: Slot) -> None:
    connection().zrem(slot.key, slot.name)
