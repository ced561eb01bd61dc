"""Makes sure that API clients do not pay for answers that a web process never handed over (docs/adr/0030).

A client that sent no Idempotency-Key cannot request its answer again. So a row of `Delivery` exists from the request
until the answer is handed over, or until the client has left. While a web process has such rows, it writes a heartbeat
every HEARTBEAT_SECONDS. If a process falls silent, the answers that it did not hand over cost nothing
(`sweep_deliveries`).

All rows that were handed over within PAUSE_SECONDS are deleted by one statement.
"""

import atexit
import logging
import os
import threading
import time
from collections import Counter
from functools import cache
from uuid import UUID, uuid4

from django.conf import settings
from django.db import connection, transaction

from billing import ledger
from core import sql
from core.loops import Loop
from inference import heartbeats
from inference.generations.endings import fail_generation
from inference.models import Delivery, Generation, WebProcess
from inference.relay import streams

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 0.05  # between two statements that delete what was handed over
DISOWN_SECONDS = 60.0  # a row this old was made but never taken on, which normally follows within milliseconds
LOST = "The service was restarted before the answer was handed over."

BEAT = """
INSERT INTO inference_webprocess (id, heartbeat_at) VALUES (%s, clock_timestamp())
ON CONFLICT (id) DO UPDATE SET heartbeat_at = clock_timestamp()"""

DISOWN = """
UPDATE inference_delivery SET process_id = gen_random_uuid()
WHERE process_id = %s AND created_at < clock_timestamp() - make_interval(secs => %s) AND NOT generation_id = ANY(%s)"""

# Deliveries whose process is silent, has ended, or never wrote a heartbeat.
LOST_DELIVERIES = """
SELECT d.generation_id FROM inference_delivery d JOIN inference_generation g ON g.id = d.generation_id
WHERE {is_long_ago} AND NOT EXISTS (
    SELECT FROM inference_webprocess p WHERE p.id = d.process_id AND NOT {is_silent}
)"""


class Deliverer:
    """The answers that one process has to hand over, and the thread that writes its heartbeats and deletes rows."""

    def __init__(self) -> None:
        self.id = uuid4()
        # How many clients wait for each answer. It may be two: a retry may come before we notice that the first left.
        self._open: Counter[UUID] = Counter()
        self._doubtful: set[UUID] = set()  # of those: the sweeper may have given them up while this process paused
        self._done: list[UUID] = []
        self._changing = threading.Lock()
        self._woken = threading.Event()
        self._never = threading.Event()
        self._heard_at = float("-inf")  # when the last heartbeat was sent, by this machine's monotonic clock
        self._disowned_at = time.monotonic()
        self._loop = Loop("deliveries", self._step, pause_seconds=PAUSE_SECONDS, ended=self._never)

    def expect(self) -> UUID:
        """Return the id of this process, after a heartbeat if one is due. Call it before inserting a `Delivery`."""
        self._loop.revive()
        if time.monotonic() - self._heard_at > settings.HEARTBEAT_SECONDS:
            self._beat()
        return self.id

    def take_on(self, generation_id: UUID) -> None:
        """Note that this process has to hand this answer over, until `close`."""
        with self._changing:
            self._open[generation_id] += 1
            self._done = [each for each in self._done if each != generation_id]

    def close(self, generation_id: UUID) -> None:
        """Note that an answer was handed over, or that its client has left. Does not block."""
        with self._changing:
            if generation_id not in self._open:
                return
            self._open[generation_id] -= 1
            if self._open[generation_id] == 0:
                del self._open[generation_id]
                self._doubtful.discard(generation_id)
                self._done.append(generation_id)
        self._woken.set()

    def may_hand_over(self, generation_id: UUID) -> bool:
        """Whether this process may hand the answer over. If the process paused, the sweeper may have refunded it."""
        if generation_id not in self._open:  # a retry of an answer that was handed over before
            return True
        if not self._has_paused() and generation_id not in self._doubtful:
            return True
        return Delivery.objects.filter(pk=generation_id, process_id=self.id).exists()

    def leave_to_the_sweeper(self, generation_id: UUID) -> None:
        """Forget an answer that could not be handed over nor refunded now: the sweeper refunds it later."""
        with self._changing:
            self._open.pop(generation_id, None)

    def end(self) -> None:
        """Delete the row of this process as it ends, so that the sweeper need not wait until it counts as silent."""
        self._delete_done()
        WebProcess.objects.filter(pk=self.id).delete()

    def _step(self) -> None:
        self._woken.wait(settings.HEARTBEAT_SECONDS)
        self._woken.clear()
        self._delete_done()
        if self._open and time.monotonic() - self._heard_at >= settings.HEARTBEAT_SECONDS:
            self._beat()
        if time.monotonic() - self._disowned_at >= DISOWN_SECONDS:
            self._disowned_at = time.monotonic()
            self._disown()

    def _disown(self) -> None:
        """Give up rows of this process that it does not know, since it failed between `expect` and `take_on`.

        They get the id of a process that does not exist, so the sweeper finds them.
        """
        with self._changing:
            known = [*self._open, *self._done]
        with connection.cursor() as cursor:
            cursor.execute(DISOWN, [self.id, DISOWN_SECONDS, known])

    def _has_paused(self) -> bool:
        return time.monotonic() - self._heard_at > float(settings.WORKER_SILENT_SECONDS) / 2

    def _beat(self) -> None:
        if self._has_paused():  # note it now, as this heartbeat hides it: this thread may be the first to wake up
            with self._changing:
                self._doubtful.update(self._open)
        asked_at = time.monotonic()
        with connection.cursor() as cursor:
            cursor.execute(BEAT, [self.id])
        self._heard_at = asked_at

    def _delete_done(self) -> None:
        with self._changing:
            done, self._done = self._done, []
        if not done:
            return
        try:
            with connection.cursor() as cursor:
                cursor.execute(
                    "DELETE FROM inference_delivery WHERE process_id = %s AND generation_id = ANY(%s)", [self.id, done]
                )
        except Exception:
            with self._changing:
                self._done = done + self._done
            raise


def deliverer() -> Deliverer:
    """The Deliverer of this process. A forked process has its own."""
    return _make_deliverer(os.getpid())


@cache
def _make_deliverer(_process: int) -> Deliverer:
    made = Deliverer()
    atexit.register(_end_quietly, made)
    return made


def _end_quietly(ended: Deliverer) -> None:
    try:
        ended.end()
    except Exception as error:  # noqa: BLE001  then it counts as silent a little later
        logger.warning("deliveries are left to the sweeper: %s", error)


def sweep_deliveries() -> int:
    """Fail or refund the answers that silent web processes did not hand over. Returns the number of answers."""
    statement = LOST_DELIVERIES.format(
        is_long_ago=heartbeats.is_silent("d.created_at"), is_silent=heartbeats.is_silent("p.heartbeat_at")
    )
    lost = [row[0] for row in sql.fetch_all(f"{statement} LIMIT 500", [])]
    given_up = sum(_try_to_give_up(generation_id) for generation_id in lost)
    silent = WebProcess.objects.filter(heartbeats.Silent("heartbeat_at"))
    silent.exclude(pk__in=Delivery.objects.values("process_id")).delete()
    return given_up


@transaction.atomic
def fail_delivery(*, generation_id: UUID, error: str) -> None:
    """End at no cost an answer that cannot be handed over. If it has ended already, refund its charge, once."""
    if fail_generation(generation_id=generation_id, error=error) is not None:
        transaction.on_commit(lambda: streams.publish_stop(generation_id))
    else:
        generation = Generation.objects.only("hold_id").get(pk=generation_id)
        ledger.refund_rest(hold_id=generation.hold_id, idempotency_key=f"undelivered:{generation_id}", reason=error)
    Generation.objects.filter(pk=generation_id).update(client_attempt=None)  # no retry takes it over any more
    Delivery.objects.filter(pk=generation_id).delete()
    logger.warning("generation %s costs nothing: %s", generation_id, error)


def _try_to_give_up(generation_id: UUID) -> bool:
    try:
        return _give_up(generation_id)
    except Exception:  # the other rows are still swept
        logger.exception("generation %s is left to the next sweep", generation_id)
        return False


@transaction.atomic
def _give_up(generation_id: UUID) -> bool:
    """Give up one answer if it is still lost. Returns whether it was.

    One statement locks its rows and skips locked ones: a retry may be taking the answer over.
    """
    lost = LOST_DELIVERIES.format(
        is_long_ago=heartbeats.is_silent("d.created_at"), is_silent=heartbeats.is_silent("p.heartbeat_at")
    )
    if not sql.fetch_all(f"{lost} AND d.generation_id = %s FOR UPDATE OF g, d SKIP LOCKED", [generation_id]):
        return False
    fail_delivery(generation_id=generation_id, error=LOST)
    return True
