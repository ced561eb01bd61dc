"""The worker of a GPU process: claims queued rows and writes their answers with the engines of one model manager.

When a ticket comes, the worker claims as many waiting rows as it has free seats (`seats`). Each row gets a thread. The
thread takes a lease on the model's engine, waits while the engine's text goes into the relay, and settles the row.

Four more threads serve all answers. One writes heartbeats of the running answers every two seconds. One listens for
stops. One reports in Redis which models are loaded. One unloads idle models, tries again to load those that failed, and
looks for rows without a ticket.
"""

import logging
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from uuid import UUID

import psutil
from celery import current_app
from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.db.models.functions import Now
from kombu.exceptions import OperationalError

from core.loops import Loop
from core.postgresql.retrying import try_again_while_the_database_is_away
from inference.engine.base import Delta, EngineError, EngineRequest, FinishReason, Sampling
from inference.generations.endings import (
    call_worker,
    cancel_generation,
    fail_generation,
    hand_back_generation,
    settle_generation,
)
from inference.generations.tickets import open_ticket
from inference.models import CatalogueModel, Generation, GenerationState, PromptFormat
from inference.prompting.transcript import stop_strings
from inference.relay import streams
from inference.relay import writer as relay_writer
from inference.worker import status as manager_status
from inference.worker.availability import mark_available, mark_unavailable
from inference.worker.contracts import LeftWhileWaiting, LoadFailed, ManagerClosed, ModelSource, NoRoom
from inference.worker.jobs import HandedBack, Job, StoppedBeforeItBegan
from inference.worker.loader import CatalogueLoader
from inference.worker.manager import ModelManager
from inference.worker.seats import Seats

logger = logging.getLogger(__name__)

MOST_THREADS = 10_000  # more than there are seats, so that no claimed row waits for a thread
RESTARTED = "The service was restarted."


class Worker:
    """The models, the seats and the threads of this process."""

    def __init__(self) -> None:
        loader = CatalogueLoader()
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self.seats = Seats()
        self.limits = loader.limits()
        self.models = ModelManager(loader=loader, limits=self.limits, listener=self)
        self._device = loader.device.kind
        self._keys: list[str] = []  # of the models whose queues this process listens to
        # Each answer has a thread of this pool, so there are never more of them than seats. Celery's threads wait for
        # these.
        self._threads = ThreadPoolExecutor(max_workers=MOST_THREADS, thread_name_prefix="answer")
        self._stopping = threading.Lock()
        self._has_ended = threading.Event()
        self._started_at = time.time()
        self._never = threading.Event()  # never set: heartbeats must go on as long as rows run, also in a shutdown
        self._loops: list[Loop] = []
        self._keep_doing(self._beat, settings.HEARTBEAT_SECONDS, self._never)
        self._keep_doing(self._listen, 1.0, self._never, begins_at_once=True)

    def serve(self, model_key: str) -> None:
        """Answer the queued rows of this model that there are seats for. Returns when they are written.

        The rows of a user who has MAX_RUNNING_OF_USER answers in this worker wait until one of these ends.
        """
        open_ticket(model_key)
        for loop in list(self._loops):
            loop.revive()
        if self.seats.is_closed:
            call_worker(model_key=model_key)
        answers: deque[Future[None]] = deque()
        self._begin(self.seats.claim(model_key) or self.seats.claim_passed_over(model_key), answers)
        while answers:
            answers.popleft().result()

    def _begin(self, generations: list[Generation], answers: "deque[Future[None]]") -> None:
        """Give each row to a thread, and add it to the answers that the task waits for."""
        answers.extend(self._threads.submit(self._answer_and_go_on, each, answers) for each in generations)

    def _answer_and_go_on(self, generation: Generation, answers: "deque[Future[None]]") -> None:
        """Write one answer, then claim rows that had no seat before. A failed claim leaves the rows for later."""
        try:
            if self._answer(generation, self.seats.jobs[generation.pk]):
                for model_key in self.seats.models_left():
                    self._begin(self.seats.claim(model_key), answers)
        except DatabaseError as error:
            logger.warning("the database is away, what waits is seen to a little later: %s", error)

    def _answer(self, generation: Generation, job: Job) -> bool:
        """Write one answer and end its row. False if it failed or was handed back; then the customer pays nothing."""
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
                token_times=job.token_times,
            )
            ended = try_again_while_the_database_is_away(settle)
            writer.end(ended.state if ended else GenerationState.FAILED)
        except StoppedBeforeItBegan:
            cancel_generation(generation_id=generation.pk)
        except HandedBack:
            self._hand_back(generation.pk)
            return False
        except Exception as error:  # noqa: BLE001  after any error the customer must pay nothing
            self._fail(job, error, writer)
            return False
        finally:
            self.seats.jobs.pop(generation.pk, None)
            connection.close()
        return True

    def shut_down(self) -> None:
        """Hand back jobs that did not begin, wait SHUTDOWN_GRACE_SECONDS for the others, then abandon them at no cost.

        A second call does nothing. If the worker is killed meanwhile, its running rows have no heartbeat any more: the
        sweeper ends them at no cost.
        """
        with self._stopping:
            if self.seats.is_closed:
                return
            self.seats.is_closed = True
        deadline = time.monotonic() + settings.SHUTDOWN_GRACE_SECONDS
        while self.seats.jobs and time.monotonic() < deadline:
            for job in list(self.seats.jobs.values()):  # in each round, since a running claim may add jobs
                job.hand_back()
            self.models.wake()
            time.sleep(0.05)
        for job in list(self.seats.jobs.values()):
            job.abandon(RESTARTED)
        while self.seats.jobs and time.monotonic() < deadline + 2:
            time.sleep(0.05)
        self.models.close()
        self._has_ended.set()
        manager_status.forget_worker(self.name)

    def preload(self, keys: Sequence[str]) -> None:
        """Load these models now, one after the other. One that fails becomes unavailable and is tried again later."""
        for model in CatalogueModel.objects.offered().filter(pk__in=keys):
            self._try_loading(model)

    def look_after(self, keys: Sequence[str]) -> None:
        """Start the threads that report the worker's status and tend its models. `keys` are the models it serves."""
        self._keys = list(keys)
        self._report()
        for step in (self._report, self._tend):
            self._keep_doing(step, settings.HEARTBEAT_SECONDS, self._has_ended)

    def try_unavailable(self, keys: Sequence[str]) -> None:
        """Try to load those models that are unavailable now, each after its own pause."""
        for model in CatalogueModel.objects.offered().filter(pk__in=keys).exclude(unavailable_reason=""):
            if self.models.is_due(model.key):
                self._try_loading(model)

    def _look_for_work(self, keys: Sequence[str]) -> None:
        """Send a ticket for rows that waited too long: theirs was lost, or came to a worker without a free seat."""
        for key in keys:
            waiting = self.seats.without_the_busy(Generation.objects.unclaimed(key), key)
            if self.seats.has_free() and waiting.exists():
                call_worker(model_key=key)

    def _serve_new_models(self) -> None:
        """With WORKER_SERVES_NEW_MODELS, have Celery also listen to the queues of models that were added later."""
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

    def status(self) -> manager_status.WorkerStatus:
        return manager_status.WorkerStatus(
            name=self.name,
            pid=os.getpid(),
            device=self._device,
            is_stopping=self.seats.is_closed,
            running=len(self.seats.jobs),
            process_bytes=psutil.Process().memory_info().rss,
            budget_bytes=self.limits.budget_bytes,
            started_at=self._started_at,
            written_at=time.time(),
            models=self.models.loaded_models(),
            failures=self.models.failures(),
            serves=list(self._keys),
        )

    def model_loaded(self, model: ModelSource) -> None:
        try:
            mark_available(key=model.key)
        finally:
            connection.close()

    def model_failed(self, model: ModelSource, reason: str) -> None:
        try:
            mark_unavailable(key=model.key, reason=reason, by=self.name)
        finally:
            connection.close()

    def _write(self, generation: Generation, job: Job, writer: relay_writer.RelayWriter) -> FinishReason:
        """Have the engine write the answer, and return why it ended.

        Raises StoppedBeforeItBegan, HandedBack, LoadFailed, NoRoom and EngineError.
        """

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
            raise HandedBack  # it still waited inside the engine and has no text, so another worker may write it
        if job.abandoned_because:
            raise EngineError(job.abandoned_because)

    def _hand_back(self, generation_id: UUID) -> None:
        if not hand_back_generation(generation_id=generation_id, state=GenerationState.RUNNING):
            cancel_generation(generation_id=generation_id)  # the customer stopped it first

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
        """Write heartbeats of the running rows, and react to stops, ends elsewhere and time-outs."""
        jobs = dict(self.seats.jobs)
        if jobs:
            self._beat_once(jobs)

    def _beat_once(self, jobs: dict[UUID, Job]) -> None:
        rows = Generation.objects.filter(pk__in=jobs)
        with transaction.atomic():
            # The row of an answer that is just ending is locked. Waiting for it would delay all other heartbeats.
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
        """Stop the jobs whose ids web processes publish. While Redis is away, `_beat` sees the stop in the row."""
        with streams.subscribe_to_stops() as channel:
            while True:
                message = channel.get_message(timeout=1.0)
                if message:
                    self._stop_by_id(UUID(message["data"]))

    def _stop_by_id(self, generation_id: UUID) -> None:
        job = self.seats.find_to_stop(generation_id)
        if job is not None:
            self._stop(job)

    def _stop(self, job: Job) -> None:
        job.stop()
        self.models.wake()  # the job may wait for its model

    def _abandon(self, job: Job, why: str) -> None:
        job.abandon(why)
        self.models.wake()

    def _report(self) -> None:
        """Write this worker's status to Redis."""
        if not self._has_ended.is_set():
            manager_status.write_worker(self.status())

    def _tend(self) -> None:
        """Unload idle models, serve new ones, load unavailable ones again, and look for rows without a ticket."""
        self.models.unload_idle()
        self._serve_new_models()
        self.try_unavailable(self._keys)
        self._look_for_work(self._keys)
