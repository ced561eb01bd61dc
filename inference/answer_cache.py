"""The answer cache: which deterministic requests have been answered before, and by which answer (docs/adr/0015).

A request is deterministic at temperature 0, or with a seed that the caller gave. All that decides its answer is hashed
into a key. Redis knows for a key which answer there is, for ANSWER_CACHE_SECONDS and the ANSWER_CACHE_ENTRIES that were
used last; the answer itself and its tokens are read from its row, so nothing in Redis is ever charged, and what was
erased is out of the cache. While Redis is away there is no cache.
"""

import hashlib
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from enum import StrEnum
from functools import cache, partial
from uuid import UUID

import redis
from django.conf import settings
from django.db import connection as database
from django.db import transaction
from django.utils import timezone

from accounts.models import User
from core.redis_clients import connect
from inference.engine.base import Sampling
from inference.models import CatalogueModel, Generation, GenerationState
from inference.weights.revisions import revision_of

logger = logging.getLogger(__name__)

VERSION = 2  # of the key: raise it when the same request may get another answer from the same weights
USED, COUNTS = "answers:used", "answers:counts"  # a sorted set of keys by their last use; a hash of counters
HITS, MISSES, JOINED, STORED, EVICTED = "hits", "misses", "joined", "stored", "evicted"
COUNTERS = (HITS, MISSES, JOINED, STORED, EVICTED)
JUST_ENDED_SECONDS = 2.0  # in which an answer that has ended may not have reached Redis yet


class CacheUse(StrEnum):
    """Who a deterministic answer is kept for: its user, everybody who asks the same, or nobody."""

    PRIVATE = "private"
    PUBLIC = "public"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Request:
    """All that decides an answer. `requested_tokens` is the limit before the wallet shortens it; `is_seeded` says
    whether the caller named the seed."""

    model: CatalogueModel
    prompt_format: str
    prompt_token_ids: Sequence[int]
    requested_tokens: int
    sampling: Sampling
    stop: tuple[str, ...]
    is_seeded: bool

    @property
    def is_deterministic(self) -> bool:
        """Whether the same request gets the same answer."""
        return self.sampling.temperature == 0 or self.is_seeded


@dataclass(frozen=True, slots=True)
class Lookup:
    """Where a request stands in the cache: its key, and the answer that Redis names for it."""

    key: str
    answer_id: UUID | None


@dataclass(frozen=True, slots=True)
class Decision:
    """What there is for a request: an answer to repeat, a leader to wait for, or neither. No key: it has no cache."""

    key: str = ""
    answer: Generation | None = None
    leader_id: UUID | None = None

    @property
    def follows(self) -> UUID | None:
        """The answer that is repeated or waited for."""
        return self.answer.pk if self.answer is not None else self.leader_id


@dataclass(frozen=True, slots=True)
class Figures:
    """How the cache does: the counters since they were last lost with Redis, and the answers it knows now."""

    entries: int
    hits: int
    misses: int
    joined: int
    stored: int
    evicted: int


@cache
def connection() -> "redis.Redis":
    """This process's connections; the time-outs are shorter than any answer is worth waiting for."""
    return connect(settings.CACHE_REDIS_URL, answer_seconds=0.5, as_text=True)


def look_up(user: User, request: Request, use: CacheUse) -> Lookup | None:
    """Look a request up in Redis; None for one that the cache is not for, and for all while Redis is away.

    Raises ModelUnavailable.
    """
    if use == CacheUse.OFF or not request.is_deterministic or settings.ANSWER_CACHE_SECONDS <= 0:
        return None
    key = _key(user, request, use)
    try:
        return Lookup(key, _read_answer_id(key))
    except redis.RedisError as error:
        logger.warning("no answer cache: Redis is away (%s)", type(error).__name__)
        return None


def decide(lookup: Lookup | None) -> Decision:
    """Whether a request is answered from the cache, waits for one that is being answered, or begins.

    Call it in the transaction that inserts the request, after the wallet was locked. The lock of a key is the last
    that any transaction takes: whoever has it waits for nobody, so nobody waits for ever.
    """
    if lookup is None:
        return Decision()
    answer = _find_answer(lookup)
    if answer is None:
        lock_key(lookup.key)
        answer = _find_leader(lookup.key)
    is_live = answer is not None and answer.is_live
    counter = MISSES if answer is None else JOINED if is_live else HITS
    transaction.on_commit(partial(_count, counter))
    if answer is not None and is_live:
        return Decision(lookup.key, leader_id=answer.pk)
    return Decision(lookup.key, answer=answer)


def lock_key(key: str) -> None:
    """Wait until no other transaction decides about this key. Kept until the transaction ends."""
    number = int.from_bytes(bytes.fromhex(key[:16]), signed=True)
    with database.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [number])


def is_repeatable(generation: Generation) -> bool:
    """Whether the same request would get the same answer: completed, and not cut short by what its wallet afforded."""
    return (
        generation.state == GenerationState.COMPLETED
        and generation.text != ""  # erased, or nothing was said
        and generation.completion_tokens > 0
        and not (generation.is_limited_by_balance and generation.finish_reason != "stop")
    )


def store(generation: Generation) -> None:
    """Name this answer for its key, and forget those that were not used for longest. Redis may be away."""
    now, key = time.time(), generation.cache_key
    try:
        with connection().pipeline(transaction=False) as pipeline:
            pipeline.set(_entry(key), str(generation.pk), ex=settings.ANSWER_CACHE_SECONDS)
            pipeline.zadd(USED, {key: now})
            pipeline.zremrangebyscore(USED, "-inf", now - settings.ANSWER_CACHE_SECONDS)  # these have expired
            pipeline.hincrby(COUNTS, STORED, 1)
            pipeline.zcard(USED)
            entries: int = pipeline.execute()[-1]
        _evict(entries - settings.ANSWER_CACHE_ENTRIES)
    except redis.RedisError as error:
        logger.warning("an answer is not cached: Redis is away (%s)", type(error).__name__)


def read_figures() -> Figures:
    """How the cache does. Raises RedisError."""
    with connection().pipeline(transaction=False) as pipeline:
        pipeline.zremrangebyscore(USED, "-inf", time.time() - settings.ANSWER_CACHE_SECONDS)
        pipeline.zcard(USED)
        pipeline.hgetall(COUNTS)
        _expired, entries, counts = pipeline.execute()
    return Figures(entries, *(int(counts.get(name, 0)) for name in COUNTERS))


def _key(user: User, request: Request, use: CacheUse) -> str:
    """SHA-256 of all that decides an answer, and of whose it is unless it is public.

    Whatever `Sampling` gains is a part of it. At temperature 0 nothing is drawn, so the seed is not.
    """
    sampling = asdict(request.sampling)
    if request.sampling.temperature == 0:
        sampling.pop("seed")
    model = request.model
    inputs = {
        "version": VERSION,
        "model": model.key,
        "revision": revision_of(key=model.key, source=model.source),
        "engine": [settings.INFERENCE_ENGINE, settings.INFERENCE_PRECISION],
        "format": request.prompt_format,
        "prompt": list(request.prompt_token_ids),
        "sampling": sampling,
        "max_tokens": request.requested_tokens,
        "stop": request.stop,
        "user": None if use == CacheUse.PUBLIC else user.pk,
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def _read_answer_id(key: str) -> UUID | None:
    """The answer that Redis names, which is used now. Raises RedisError."""
    named = connection().get(_entry(key))
    if named is None:
        return None
    connection().zadd(USED, {key: time.time()}, xx=True)
    try:
        return UUID(str(named))
    except ValueError:
        return None


def _find_answer(lookup: Lookup) -> Generation | None:
    """The row that Redis names, if it is what it should be."""
    if lookup.answer_id is None:
        return None
    rows = Generation.objects.filter(pk=lookup.answer_id, cache_key=lookup.key, follows=None)
    return next((row for row in rows.defer("prompt_token_ids") if is_repeatable(row)), None)


def _find_leader(key: str) -> Generation | None:
    """Who is being answered under this key, or was a moment ago. The key is locked."""
    moment = timedelta(seconds=min(JUST_ENDED_SECONDS, settings.ANSWER_CACHE_SECONDS))
    leading = Generation.objects.leading(key).defer("prompt_token_ids").first()
    if leading is not None:
        return leading
    ended = Generation.objects.filter(cache_key=key, follows=None, ended_at__gt=timezone.now() - moment)
    return next((row for row in ended.defer("prompt_token_ids")[:10] if is_repeatable(row)), None)


def _evict(excess: int) -> None:
    """Forget so many of the keys that were not used for longest."""
    if excess <= 0:
        return
    forgotten = [key for key, _used_at in connection().zpopmin(USED, excess)]  # type: ignore[union-attr]
    with connection().pipeline(transaction=False) as pipeline:
        pipeline.delete(*(_entry(key) for key in forgotten))
        pipeline.hincrby(COUNTS, EVICTED, len(forgotten))
        pipeline.execute()


def _count(counter: str) -> None:
    try:
        connection().hincrby(COUNTS, counter, 1)
    except redis.RedisError:
        logger.info("a %s of the answer cache is not counted: Redis is away", counter)


def _entry(key: str) -> str:
    return f"answer:{key}"
