"""The answer cache: finds an earlier answer to the same deterministic request (docs/adr/0015).

A request is deterministic at temperature 0, or with a seed that the caller gave. Everything that decides its answer is
hashed into a key. Redis maps the key to the id of an answer. It keeps an entry for ANSWER_CACHE_SECONDS, and only the
ANSWER_CACHE_ENTRIES that were used most recently. The text and the token counts are read from the answer's row in the
database, so no charge depends on Redis, and an erased answer is not in the cache. Without Redis there is no cache.
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
JUST_ENDED_SECONDS = 2.0  # an answer that ended less than this ago may not be in Redis yet


class CacheUse(StrEnum):
    """To whom a deterministic answer may be repeated: only its own user, every user, or nobody."""

    PRIVATE = "private"
    PUBLIC = "public"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Request:
    """Everything that decides an answer.

    `requested_tokens` is the length limit before the wallet's balance shortens it; `is_seeded` says whether the caller
    gave the seed.
    """

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
    """A request's key in the cache, and the id of the answer that Redis has for it."""

    key: str
    answer_id: UUID | None


@dataclass(frozen=True, slots=True)
class Decision:
    """How to answer a request: repeat `answer`, wait for the leader, or (neither) generate. No key: it is not cached.

    The leader is an identical request that is being answered now (`single_flight`).
    """

    key: str = ""
    answer: Generation | None = None
    leader_id: UUID | None = None

    @property
    def follows(self) -> UUID | None:
        """The answer that is repeated or waited for."""
        return self.answer.pk if self.answer is not None else self.leader_id


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures about the cache: how many answers it has now, and counters since Redis last lost its data."""

    entries: int
    hits: int
    misses: int
    joined: int
    stored: int
    evicted: int


@cache
def connection() -> "redis.Redis":
    """This process's connections to the cache. Time-outs are short, since waiting longer would outweigh a hit."""
    return connect(settings.CACHE_REDIS_URL, answer_seconds=0.5, as_text=True)


def look_up(user: User, request: Request, use: CacheUse) -> Lookup | None:
    """Look a request up in Redis; None if the cache is not for this request, or Redis is away.

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
    """Decide whether a request repeats a cached answer, waits for an identical request, or is generated.

    Call it in the transaction that inserts the request, after locking the wallet. A key's lock is the last lock that
    any transaction takes. Its holder waits for no other lock, so there is no deadlock.
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
    """Wait until no other transaction has the lock of this key, and take it until this transaction ends."""
    number = int.from_bytes(bytes.fromhex(key[:16]), signed=True)
    with database.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [number])


def is_repeatable(generation: Generation) -> bool:
    """Whether the same request would get the same answer: it completed, and the balance did not cut it short."""
    return (
        generation.state == GenerationState.COMPLETED
        and generation.text != ""  # erased, or nothing was said
        and generation.completion_tokens > 0
        and not (generation.is_limited_by_balance and generation.finish_reason != "stop")
    )


def store(generation: Generation) -> None:
    """Store the id of this answer under its key, and evict the least recently used keys. Redis may be away."""
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
    """Read the figures of the cache for operators. Raises RedisError."""
    with connection().pipeline(transaction=False) as pipeline:
        pipeline.zremrangebyscore(USED, "-inf", time.time() - settings.ANSWER_CACHE_SECONDS)
        pipeline.zcard(USED)
        pipeline.hgetall(COUNTS)
        _expired, entries, counts = pipeline.execute()
    return Figures(entries, *(int(counts.get(name, 0)) for name in COUNTERS))


def _key(user: User, request: Request, use: CacheUse) -> str:
    """SHA-256 of everything that decides an answer, and of the user unless the answer may be repeated to all.

    Every field of `Sampling` is included, also future ones. At temperature 0 nothing is drawn, so the seed is left out.
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
    """The id that Redis has for this key, which now counts as just used. Raises RedisError."""
    named = connection().get(_entry(key))
    if named is None:
        return None
    connection().zadd(USED, {key: time.time()}, xx=True)
    try:
        return UUID(str(named))
    except ValueError:
        return None


def _find_answer(lookup: Lookup) -> Generation | None:
    """The row with the id that Redis has, if it belongs to this key and may be repeated."""
    if lookup.answer_id is None:
        return None
    rows = Generation.objects.filter(pk=lookup.answer_id, cache_key=lookup.key, follows=None)
    return next((row for row in rows.defer("prompt_token_ids") if is_repeatable(row)), None)


def _find_leader(key: str) -> Generation | None:
    """The generation that is being answered under this key, or that ended a moment ago. The caller locked the key."""
    moment = timedelta(seconds=min(JUST_ENDED_SECONDS, settings.ANSWER_CACHE_SECONDS))
    leading = Generation.objects.leading(key).defer("prompt_token_ids").first()
    if leading is not None:
        return leading
    ended = Generation.objects.filter(cache_key=key, follows=None, ended_at__gt=timezone.now() - moment)
    return next((row for row in ended.defer("prompt_token_ids")[:10] if is_repeatable(row)), None)


def _evict(excess: int) -> None:
    """Remove the `excess` least recently used keys."""
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
