"""What runs in a GPU worker process: answers written by the pool's threads with the engines of one model manager.

A thread claims the row, takes a lease on the model's engine, waits while the engine puts its text into the relay, and
settles. A few more threads serve all of them: one tells the database every two seconds that the running answers are
alive, one listens for Stop, one says in Redis what is loaded, one unloads what is idle and tries again what did not
load.
"""

import logging
import os
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from functools import cache, partial
from typing import Any
from uuid import UUID

import psutil
import redis
from celery import current_app
from celery.signals import celeryd_after_setup, worker_ready, worker_shutting_down
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.models import QuerySet
from django.utils import timezone

from inference import manager_status, relay
from inference.availability import mark_available, mark_unavailable
from inference.engine.base import Delta, EngineError, EngineRequest, FinishReason, Sampling
from inference.hot_path import claim_next
from inference.jobs import HandedBack, Job, StoppedBeforeItBegan
from inference.manager import LeftWhileWaiting, LoadFailed, ManagerClosed, ModelManager, ModelSource, NoRoom
from inference.model_loader import CatalogueLoader, import_engine
from inference.models import CatalogueModel, Generation, GenerationState
from inference.patience import try_again_while_the_database_is_away
from inference.services import (
    call_worker,
    cancel_generation,
    fail_generation,
    hand_back_generation,
    settle_generation,
)

logger = logging.getLogger(__name__)

QUEUE_PREFIX = "generate."
MOST_CALLS = 8  # at a time, for rows that wait without a task: each thread goes on with the next one by itself
PASSED_OVER_TRIES, PASSED_OVER_SECONDS = 10, 0.02  # a change of a queued row takes milliseconds
RESTARTED = "The service was restarted."


class Worker:
    """The models and the running jobs of this process."""

    def __init__(self) -> None:
        loader = CatalogueLoader()
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self.threads = 1  # of the Celery pool
        self.limits = loader.limits()
        self.models = ModelManager(loader=loader, limits=self.limits, listener=self)
        self._device = loader.device.kind
        self._jobs: dict[UUID, Job] = {}
        self._claiming = threading.Lock()
        self._early_stops: deque[UUID] = deque(maxlen=1000)  # ids that were stopped before they were jobs here
        self._is_stopping = False
        self._stopping = threading.Lock()
        self._has_ended = threading.Event()
        self._started_at = time.time()
        for target in (self._beat, self._listen):
            threading.Thread(target=target, name=f"worker{target.__name__}", daemon=True).start()

    def serve(self, model_key: str) -> None:
        """Answer the next fair row of this model, and go on while there are any and they can be answered here.

        Who has MAX_RUNNING_OF_USER answers in this worker waits until one of them ends, and its thread goes on here.
        """
        if self._is_stopping:
            call_worker(model_key=model_key)
        generation = self._claim(model_key) or self._claim_passed_over(model_key)
        while generation is not None:
            goes_on = self._answer(generation, self._jobs[generation.pk])
            generation = self._claim(model_key) if goes_on else None

    def _claim(self, model_key: str) -> Generation | None:
        """Take the next row and note it as a job, one thread at a time, so that each sees what the others have."""
        with self._claiming:
            if self._is_stopping:
                return None
            try:
                generation = claim_next(model_key, self._running_by_user(model_key), settings.MAX_RUNNING_OF_USER)
            finally:
                connection.close()  # back to the pool: the engine may take minutes
            if generation is not None:
                job = self._jobs[generation.pk] = Job(generation.pk, model_key, generation.user_id)
                if generation.pk in self._early_stops:
                    job.stop()
            return generation

    def _claim_passed_over(self, model_key: str) -> Generation | None:
        """Claim the row that a task came for and a claim passed over, since somebody was just changing it."""
        for _try in range(PASSED_OVER_TRIES):
            if not self._is_one_claimable(model_key):
                return None
            time.sleep(PASSED_OVER_SECONDS)
            generation = self._claim(model_key)
            if generation is not None:
                return generation
        return None

    def _is_one_claimable(self, model_key: str) -> bool:
        rows = Generation.objects.claimable().filter(model_id=model_key)
        try:
            return not self._is_stopping and self._without_the_busy(rows, model_key).exists()
        finally:
            connection.close()

    def _answer(self, generation: Generation, job: Job) -> bool:
        """Write one answer. Whatever fails in here, the customer pays nothing for it; False when something did."""
        writer = relay.RelayWriter(generation.pk)
        try:
            finish_reason = self._write(generation, job, writer)
            self._refuse_abandoned(job)
            settle = partial(
                settle_generation,
                generation_id=generation.pk,
                text="".join(job.text),
                completion_tokens=job.completion_tokens,
                finish_reason=finish_reason,
            )
            ended = try_again_while_the_database_is_away(settle)
            writer.end(ended.state if ended else GenerationState.FAILED)
        except StoppedBeforeItBegan:
            cancel_generation(generation_id=generation.pk)
        except HandedBack:
            self._hand_back(generation.pk)
            return False
        except Exception as error:  # noqa: BLE001  nothing that fails here may cost the customer
            self._fail(job, error, writer)
            return False
        finally:
            self._jobs.pop(generation.pk, None)
            connection.close()
        return True

    def shut_down(self) -> None:
        """Hand back what did not begin, give the rest SHUTDOWN_GRACE_SECONDS to end, then interrupt it for free.

        A second call does nothing. Killed in here, the worker leaves running rows without a heartbeat: the sweeper
        ends them, and nobody pays.
        """
        with self._stopping:
            if self._is_stopping:
                return
            self._is_stopping = True
        deadline = time.monotonic() + settings.SHUTDOWN_GRACE_SECONDS
        while self._jobs and time.monotonic() < deadline:
            for job in list(self._jobs.values()):  # each time: a thread may just have been about to take one
                job.hand_back()
            self.models.wake()
            time.sleep(0.05)
        for job in list(self._jobs.values()):
            job.abandon(RESTARTED)
        while self._jobs and time.monotonic() < deadline + 2:
            time.sleep(0.05)
        self.models.close()
        self._has_ended.set()

    def preload(self, keys: Sequence[str]) -> None:
        """Load these models now, one after the other. One that does not load is marked, and tried again later."""
        for model in CatalogueModel.objects.offered().filter(pk__in=keys):
            self._try_loading(model)

    def look_after(self, keys: Sequence[str]) -> None:
        """From now on report what is loaded, unload what is idle, and try again those of `keys` that did not load."""
        for target, arguments in ((self._report, ()), (self._tend, (keys,))):
            threading.Thread(target=target, args=arguments, name=f"worker{target.__name__}", daemon=True).start()

    def try_unavailable(self, keys: Sequence[str]) -> None:
        """Load the models that customers cannot ask now, so that they can; each after its own pause."""
        for model in CatalogueModel.objects.offered().filter(pk__in=keys).exclude(unavailable_reason=""):
            if self.models.is_due(model.key):
                self._try_loading(model)

    def _look_for_work(self, keys: Sequence[str]) -> None:
        """Call workers for rows that wait though no task is left for them: it was lost, or came while all were busy."""
        for key in keys:
            waiting = self._without_the_busy(Generation.objects.unclaimed(key), key)
            room = min(self.threads - len(self._jobs), MOST_CALLS)
            call_worker(model_key=key, times=waiting[: max(0, room)].count())

    def _without_the_busy(self, rows: QuerySet[Generation], model_key: str) -> QuerySet[Generation]:
        """The rows of users who may have another answer in this worker."""
        running = self._running_by_user(model_key)
        enough = [user_id for user_id, count in running.items() if count >= settings.MAX_RUNNING_OF_USER]
        return rows.exclude(user_id__in=enough)

    def _running_by_user(self, model_key: str) -> Counter[int]:
        return Counter(job.user_id for job in list(self._jobs.values()) if job.model_key == model_key)

    def status(self) -> manager_status.WorkerStatus:
        """What operators see."""
        return manager_status.WorkerStatus(
            name=self.name,
            pid=os.getpid(),
            device=self._device,
            is_stopping=self._is_stopping,
            running=len(self._jobs),
            process_bytes=psutil.Process().memory_info().rss,
            budget_bytes=self.limits.budget_bytes,
            started_at=self._started_at,
            written_at=time.time(),
            models=self.models.loaded_models(),
            failures=self.models.failures(),
        )

    def model_loaded(self, model: ModelSource) -> None:
        """See `manager.Listener`."""
        try:
            mark_available(key=model.key)
        finally:
            connection.close()

    def model_failed(self, model: ModelSource, reason: str) -> None:
        """See `manager.Listener`."""
        try:
            mark_unavailable(key=model.key, reason=reason, by=self.name)
        finally:
            connection.close()

    def _write(self, generation: Generation, job: Job, writer: relay.RelayWriter) -> FinishReason:
        """Have the engine write. Raises StoppedBeforeItBegan, HandedBack, LoadFailed, NoRoom, EngineError."""

        def take(delta: Delta) -> None:
            job.add(delta)
            writer.write(delta.text, delta.completion_tokens)

        request = EngineRequest(
            id=str(generation.pk),
            prompt_token_ids=generation.prompt_token_ids,
            max_tokens=generation.max_completion_tokens,
            sampling=Sampling(
                generation.temperature,
                generation.top_p,
                generation.top_k,
                generation.seed,
                generation.min_p,
                generation.repetition_penalty,
            ),
            stop=tuple(generation.stop),
        )
        model = generation.model
        if not self.models.is_ready(model.key):
            writer.notice("loading")
        try:
            with self.models.lease(ModelSource(model.key, model.source), left=job.stopped) as engine:
                job.begin(engine)
                return engine.write(request, take)
        except LeftWhileWaiting:
            job.refuse_if_over()
            raise
        except ManagerClosed:
            raise HandedBack from None

    def _refuse_abandoned(self, job: Job) -> None:
        if job.abandoned_because == RESTARTED and not job.completion_tokens:
            raise HandedBack  # it waited inside the engine: nothing of it was seen, another worker may write it
        if job.abandoned_because:
            raise EngineError(job.abandoned_because)

    def _hand_back(self, generation_id: UUID) -> None:
        if not hand_back_generation(generation_id=generation_id, state=GenerationState.RUNNING):
            cancel_generation(generation_id=generation_id)  # Stop was first

    def _try_loading(self, model: CatalogueModel) -> None:
        try:
            with self.models.lease(ModelSource(model.key, model.source)):
                pass
        except (LoadFailed, NoRoom, ManagerClosed) as error:
            logger.info("%s was tried and is not loaded: %s", model.key, error)

    def _fail(self, job: Job, error: Exception, writer: relay.RelayWriter) -> None:
        known = isinstance(error, EngineError | LoadFailed | NoRoom)
        logger.log(
            logging.WARNING if known else logging.ERROR, "generation %s failed", job.generation_id, exc_info=error
        )
        try:
            fail_generation(
                generation_id=job.generation_id,
                error=str(error)[:300] if known else "Something went wrong on our side.",
                text="".join(job.text),
                completion_tokens=job.completion_tokens,
            )
        except DatabaseError:
            logger.exception("generation %s is left to the sweeper", job.generation_id)
            return
        writer.end(GenerationState.FAILED)

    def _beat(self) -> None:
        """Every HEARTBEAT_SECONDS, say that the running rows are alive and look for what happened to them."""
        while True:
            time.sleep(settings.HEARTBEAT_SECONDS)
            jobs = dict(self._jobs)
            if not jobs:
                continue
            try:
                self._beat_once(jobs)
            except DatabaseError as error:
                logger.warning("no heartbeat: %s", error)
            finally:
                connection.close()

    def _beat_once(self, jobs: dict[UUID, Job]) -> None:
        rows = Generation.objects.filter(pk__in=jobs)
        rows.filter(state=GenerationState.RUNNING).update(heartbeat_at=timezone.now())
        for generation_id, state, stop_requested_at in rows.values_list("pk", "state", "stop_requested_at"):
            job = jobs[generation_id]
            if state not in (GenerationState.RUNNING, GenerationState.QUEUED):
                self._abandon(job, "It was ended elsewhere.")
            elif stop_requested_at and not job.stopped.is_set():
                self._stop(job)
            elif time.monotonic() - job.started > settings.GENERATION_SECONDS:
                self._abandon(job, "It took too long.")

    def _listen(self) -> None:
        """Stop what the web asks to stop. While Redis is away the heartbeat sees it in the row."""
        while True:
            try:
                with relay.subscribe_to_stops() as channel:
                    while True:
                        message = channel.get_message(timeout=1.0)
                        if message:
                            self._stop_by_id(UUID(message["data"]))
            except redis.RedisError:
                time.sleep(1)

    def _stop_by_id(self, generation_id: UUID) -> None:
        self._early_stops.append(generation_id)  # first, for a thread that is about to make the job
        job = self._jobs.get(generation_id)
        if job is not None:
            self._stop(job)

    def _stop(self, job: Job) -> None:
        job.stop()
        self.models.wake()  # it may wait for its model

    def _abandon(self, job: Job, why: str) -> None:
        job.abandon(why)
        self.models.wake()

    def _report(self) -> None:
        """Every HEARTBEAT_SECONDS, say in Redis what is loaded here."""
        while True:
            manager_status.write_worker(self.status())
            if self._has_ended.wait(settings.HEARTBEAT_SECONDS):
                manager_status.forget_worker(self.name)
                return

    def _tend(self, keys: Sequence[str]) -> None:
        """Every HEARTBEAT_SECONDS, unload what is idle and try again what did not load."""
        while not self._has_ended.wait(settings.HEARTBEAT_SECONDS):
            try:
                self.models.unload_idle()
                self.try_unavailable(keys)
                self._look_for_work(keys)
            except DatabaseError as error:
                logger.warning("the models are not looked after: %s", error)
            finally:
                connection.close()


_making = threading.Lock()


@cache
def _make_worker() -> Worker:
    return Worker()


def current_worker() -> Worker:
    """The worker of this process, made at its first task."""
    with _making:
        return _make_worker()


def _served_models() -> list[str]:
    """The keys of the models whose queues this process listens to; none in a default worker."""
    queues = current_app.amqp.queues.consume_from
    return [queue.removeprefix(QUEUE_PREFIX) for queue in queues if queue.startswith(QUEUE_PREFIX)]


@celeryd_after_setup.connect
def preload_models(sender: str, **_kwargs: object) -> None:
    """Load PRELOAD_MODELS before the worker takes tasks and says that it is ready."""
    keys = _served_models()
    if keys:
        worker = current_worker()
        worker.name = sender
        worker.preload([key for key in settings.PRELOAD_MODELS if key in keys])
        connection.close()


@worker_ready.connect
def look_after_models(sender: Any, **_kwargs: object) -> None:
    """Begin to report; and import torch (8 s) while a GPU worker without a model waits for its first question."""
    keys = _served_models()
    if keys:
        current_worker().threads = sender.controller.concurrency
        current_worker().look_after(keys)
        threading.Thread(target=import_engine, daemon=True).start()


@worker_shutting_down.connect
def shut_down_current_worker(**_kwargs: object) -> None:
    """On SIGTERM, end or interrupt what runs; in a thread, since this is Celery's signal handler."""
    if _make_worker.cache_info().currsize:
        threading.Thread(target=current_worker().shut_down, name="worker-shutdown").start()
