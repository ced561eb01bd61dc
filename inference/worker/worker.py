"""What runs in a GPU worker process: answers written by its threads with the engines of one model manager.

A ticket has it claim the rows that wait, as many as it has places. A thread for each takes a lease on the model's
engine, waits while the engine puts its text into the relay, and settles. A few more threads serve all of them: one
tells the database every two seconds that the running answers are alive, one listens for Stop, one says in Redis what is
loaded, one unloads what is idle, tries again what did not load, and looks for rows without a ticket.
"""

import logging
import os
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, partial
from typing import Any
from uuid import UUID

import psutil
from celery import current_app
from celery.signals import celeryd_after_setup, worker_ready, worker_shutting_down
from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from kombu.exceptions import OperationalError

from core.garbage import look_for_garbage_less_often
from core.postgresql.retrying import try_again_while_the_database_is_away
from inference.engine.base import Delta, EngineError, EngineRequest, FinishReason, Sampling
from inference.generations.endings import (
    call_worker,
    cancel_generation,
    fail_generation,
    hand_back_generation,
    settle_generation,
)
from inference.generations.statements import claim_next
from inference.generations.tickets import open_ticket
from inference.models import CatalogueModel, Generation, GenerationState, PromptFormat
from inference.prompting.transcript import stop_strings
from inference.relay import streams
from inference.relay import writer as relay_writer
from inference.worker import status as manager_status
from inference.worker.availability import mark_available, mark_unavailable
from inference.worker.jobs import HandedBack, Job, StoppedBeforeItBegan
from inference.worker.loader import CatalogueLoader, import_engine
from inference.worker.loops import Loop
from inference.worker.manager import LeftWhileWaiting, LoadFailed, ManagerClosed, ModelManager, ModelSource, NoRoom

logger = logging.getLogger(__name__)

QUEUE_PREFIX = "generate."
DEFAULT_PLACES = 64  # answers at a time; in a Celery worker it is the size of its pool
MOST_THREADS = 10_000  # more than there are places: what is claimed is written at once
PASSED_OVER_TRIES, PASSED_OVER_SECONDS = 10, 0.02  # a change of a queued row takes milliseconds
RESTARTED = "The service was restarted."


class Worker:
    """The models and the running jobs of this process."""

    def __init__(self) -> None:
        loader = CatalogueLoader()
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self.places = DEFAULT_PLACES
        self.limits = loader.limits()
        self.models = ModelManager(loader=loader, limits=self.limits, listener=self)
        self._device = loader.device.kind
        self._jobs: dict[UUID, Job] = {}
        self._claiming = threading.Lock()
        self._keys: list[str] = []  # of the models whose queues this process listens to
        self._left: dict[str, None] = {}  # models with rows that found no place, or whose customers had enough
        # A place has a thread: there are never more than places. The threads of Celery's pool wait for them.
        self._threads = ThreadPoolExecutor(max_workers=MOST_THREADS, thread_name_prefix="answer")
        self._early_stops: deque[UUID] = deque(maxlen=1000)  # ids that were stopped before they were jobs here
        self._is_stopping = False
        self._stopping = threading.Lock()
        self._has_ended = threading.Event()
        self._started_at = time.time()
        self._never = threading.Event()  # set by nobody: as long as rows run, somebody says that they are alive
        self._loops: list[Loop] = []
        self._keep_doing(self._beat, settings.HEARTBEAT_SECONDS, self._never)
        self._keep_doing(self._listen, 1.0, self._never, begins_at_once=True)

    def serve(self, model_key: str) -> None:
        """Answer the rows of this model that wait, those that there are places for; returns when they are written.

        Who has MAX_RUNNING_OF_USER answers in this worker waits until one of them ends.
        """
        open_ticket(model_key)
        for loop in list(self._loops):
            loop.revive()
        if self._is_stopping:
            call_worker(model_key=model_key)
        answers: deque[Future[None]] = deque()
        self._begin(self._claim(model_key) or self._claim_passed_over(model_key), answers)
        while answers:
            answers.popleft().result()

    def _claim(self, model_key: str) -> list[Generation]:
        """Take rows for the places that are free, one thread at a time, so that each sees what the others have."""
        with self._claiming:
            return self._take(model_key)

    def _models_left(self) -> list[str]:
        """Those with rows that could not be taken before, once whoever is claiming has said what is left."""
        with self._claiming:
            return list(self._left)

    def _take(self, model_key: str) -> list[Generation]:
        """Claim rows and note them as jobs, and whether some may be left. One thread at a time."""
        places = self.places - len(self._jobs)
        if self._is_stopping:
            return []
        most = settings.MAX_RUNNING_OF_USER
        try:
            taken = claim_next(model_key, self._running_by_user(model_key), most, places) if places > 0 else []
        finally:
            connection.close()  # back to the pool: the engine may take minutes
        for generation in taken:
            job = self._jobs[generation.pk] = Job(generation.pk, model_key, generation.user_id)
            if generation.pk in self._early_stops:
                job.stop()
        self._left.pop(model_key, None)
        if len(taken) >= places or max(self._running_by_user(model_key).values(), default=0) >= most:
            self._left[model_key] = None
        return taken

    def _begin(self, generations: list[Generation], answers: "deque[Future[None]]") -> None:
        """Give each row to a thread, and note it among the answers that a task waits for."""
        answers.extend(self._threads.submit(self._answer_and_go_on, each, answers) for each in generations)

    def _answer_and_go_on(self, generation: Generation, answers: "deque[Future[None]]") -> None:
        """Write one answer, then begin what was left for want of a place: each claim before the next one may fail."""
        try:
            if self._answer(generation, self._jobs[generation.pk]):
                for model_key in self._models_left():
                    self._begin(self._claim(model_key), answers)
        except DatabaseError as error:
            logger.warning("the database is away, what waits is seen to a little later: %s", error)

    def _claim_passed_over(self, model_key: str) -> list[Generation]:
        """Claim what a ticket came for and a claim passed over, since somebody was just changing it."""
        for _try in range(PASSED_OVER_TRIES):
            if model_key in self._left or not self._is_one_claimable(model_key):
                return []
            time.sleep(PASSED_OVER_SECONDS)
            taken = self._claim(model_key)
            if taken:
                return taken
        return []

    def _is_one_claimable(self, model_key: str) -> bool:
        rows = Generation.objects.claimable().filter(model_id=model_key)
        try:
            return not self._is_stopping and self._without_the_busy(rows, model_key).exists()
        finally:
            connection.close()

    def _answer(self, generation: Generation, job: Job) -> bool:
        """Write one answer. Whatever fails in here, the customer pays nothing for it; False when something did."""
        writer = relay_writer.RelayWriter(generation.pk)
        try:
            finish_reason = self._write(generation, job, writer)
            self._refuse_abandoned(job)
            settle = partial(
                settle_generation,
                generation_id=generation.pk,
                text="".join(job.text),
                completion_tokens=job.completion_tokens,
                finish_reason=finish_reason,
                logprobs=None if generation.top_logprobs is None else job.logprobs,
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
        manager_status.forget_worker(self.name)

    def preload(self, keys: Sequence[str]) -> None:
        """Load these models now, one after the other. One that does not load is marked, and tried again later."""
        for model in CatalogueModel.objects.offered().filter(pk__in=keys):
            self._try_loading(model)

    def look_after(self, keys: Sequence[str]) -> None:
        """From now on report what is loaded, unload what is idle, and try again those of `keys` that did not load."""
        self._keys = list(keys)
        self._report()
        for step in (self._report, self._tend):
            self._keep_doing(step, settings.HEARTBEAT_SECONDS, self._has_ended)

    def try_unavailable(self, keys: Sequence[str]) -> None:
        """Load the models that customers cannot ask now, so that they can; each after its own pause."""
        for model in CatalogueModel.objects.offered().filter(pk__in=keys).exclude(unavailable_reason=""):
            if self.models.is_due(model.key):
                self._try_loading(model)

    def _look_for_work(self, keys: Sequence[str]) -> None:
        """Call a worker for rows that wait without a ticket: it was lost, or came to a worker without a place."""
        for key in keys:
            waiting = self._without_the_busy(Generation.objects.unclaimed(key), key)
            if len(self._jobs) < self.places and waiting.exists():
                call_worker(model_key=key)

    def _serve_new_models(self) -> None:
        """With WORKER_SERVES_NEW_MODELS, have Celery listen to the queues of models that were added since it began."""
        if not settings.WORKER_SERVES_NEW_MODELS:
            return
        for model in CatalogueModel.objects.offered().exclude(pk__in=self._keys):
            try:
                current_app.control.add_consumer(model.queue, destination=[self.name])
            except OperationalError:
                logger.warning("%s is not served yet: the broker is away", model.key)
            else:
                self._keys.append(model.key)
                logger.info("%s is new and served here", model.key)

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
            serves=list(self._keys),
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

    def _write(self, generation: Generation, job: Job, writer: relay_writer.RelayWriter) -> FinishReason:
        """Have the engine write. Raises StoppedBeforeItBegan, HandedBack, LoadFailed, NoRoom, EngineError."""

        def take(delta: Delta) -> None:
            writer.write(delta.text, delta.completion_tokens, job.add(delta))

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
                generation.frequency_penalty,
                generation.presence_penalty,
            ),
            stop=(*generation.stop, *stop_strings(generation.prompt_format)),
            trims_start=generation.prompt_format == PromptFormat.TRANSCRIPT,
            top_logprobs=generation.top_logprobs,
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

    def _fail(self, job: Job, error: Exception, writer: relay_writer.RelayWriter) -> None:
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

    def _keep_doing(
        self,
        step: Callable[[], None],
        pause_seconds: float,
        ended: threading.Event,
        *,
        begins_at_once: bool = False,
    ) -> None:
        name = f"worker{step.__name__}"
        loop = Loop(name, step, pause_seconds=pause_seconds, ended=ended, begins_at_once=begins_at_once)
        self._loops.append(loop)
        loop.revive()

    def _beat(self) -> None:
        """Say that the running rows are alive, and look for what happened to them."""
        jobs = dict(self._jobs)
        if jobs:
            self._beat_once(jobs)

    def _beat_once(self, jobs: dict[UUID, Job]) -> None:
        rows = Generation.objects.filter(pk__in=jobs)
        with transaction.atomic():
            # An answer that is just ending has its row locked: who waits for it here makes all others wait.
            running = rows.filter(state=GenerationState.RUNNING).select_for_update(skip_locked=True)
            Generation.objects.filter(pk__in=running.values("pk")).update(heartbeat_at=Now())
        for generation_id, state, stop_requested_at in rows.values_list("pk", "state", "stop_requested_at"):
            job = jobs[generation_id]
            if state not in (GenerationState.RUNNING, GenerationState.QUEUED):
                self._abandon(job, "It was ended elsewhere.")
            elif stop_requested_at and not job.stopped.is_set():
                self._stop(job)
            elif time.monotonic() - job.started > settings.GENERATION_SECONDS:
                self._abandon(job, "It took too long.")

    def _listen(self) -> None:
        """Stop what the web asks to stop, until Redis is away: then the heartbeat sees it in the row."""
        with streams.subscribe_to_stops() as channel:
            while True:
                message = channel.get_message(timeout=1.0)
                if message:
                    self._stop_by_id(UUID(message["data"]))

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
        """Say in Redis what is loaded here."""
        if not self._has_ended.is_set():
            manager_status.write_worker(self.status())

    def _tend(self) -> None:
        """Unload what is idle, try again what did not load, and listen for new models."""
        self.models.unload_idle()
        self._serve_new_models()
        self.try_unavailable(self._keys)
        self._look_for_work(self._keys)


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
        current_worker().places = sender.controller.concurrency
        current_worker().look_after(keys)
        threading.Thread(target=_finish_loading, daemon=True).start()


def _finish_loading() -> None:
    import_engine()
    look_for_garbage_less_often()


@worker_shutting_down.connect
def shut_down_current_worker(**_kwargs: object) -> None:
    """On SIGTERM, end or interrupt what runs; in a thread, since this is Celery's signal handler."""
    if _make_worker.cache_info().currsize:
        threading.Thread(target=current_worker().shut_down, name="worker-shutdown").start()
