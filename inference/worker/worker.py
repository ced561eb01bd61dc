"""What runs in a GPU worker process: answers written by its threads with the engines of one model manager.

A ticket has it claim the rows that wait, as many as it has free seats (`seats`). A thread for each takes a lease on the
model's engine, waits while the engine puts its text into the relay, and settles. A few more threads serve all of them:
one tells the database every two seconds that the running answers are alive, one listens for Stop, one says in Redis
what is loaded, one unloads what is idle, tries again what did not load, and looks for rows without a ticket.
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

MOST_THREADS = 10_000  # more than there are seats: what is claimed is written at once
RESTARTED = "The service was restarted."


class Worker:
    """The models and the running jobs of this process."""

    def __init__(self) -> None:
        loader = CatalogueLoader()
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self.seats = Seats()
        self.limits = loader.limits()
        self.models = ModelManager(loader=loader, limits=self.limits, listener=self)
        self._device = loader.device.kind
        self._keys: list[str] = []  # of the models whose queues this process listens to
        # A seat has a thread: there are never more than seats. The threads of Celery's pool wait for them.
        self._threads = ThreadPoolExecutor(max_workers=MOST_THREADS, thread_name_prefix="answer")
        self._stopping = threading.Lock()
        self._has_ended = threading.Event()
        self._started_at = time.time()
        self._never = threading.Event()  # set by nobody: as long as rows run, somebody says that they are alive
        self._loops: list[Loop] = []
        self._keep_doing(self._beat, settings.HEARTBEAT_SECONDS, self._never)
        self._keep_doing(self._listen, 1.0, self._never, begins_at_once=True)

    def serve(self, model_key: str) -> None:
        """Answer the rows of this model that wait, those that there are seats for; returns when they are written.

        Who has MAX_RUNNING_OF_USER answers in this worker waits until one of them ends.
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
        """Give each row to a thread, and note it among the answers that a task waits for."""
        answers.extend(self._threads.submit(self._answer_and_go_on, each, answers) for each in generations)

    def _answer_and_go_on(self, generation: Generation, answers: "deque[Future[None]]") -> None:
        """Write one answer, then begin what was left for want of a seat: each claim before the next one may fail."""
        try:
            if self._answer(generation, self.seats.jobs[generation.pk]):
                for model_key in self.seats.models_left():
                    self._begin(self.seats.claim(model_key), answers)
        except DatabaseError as error:
            logger.warning("the database is away, what waits is seen to a little later: %s", error)

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
            self.seats.jobs.pop(generation.pk, None)
            connection.close()
        return True

    def shut_down(self) -> None:
        """Hand back what did not begin, give the rest SHUTDOWN_GRACE_SECONDS to end, then interrupt it for free.

        A second call does nothing. Killed in here, the worker leaves running rows without a heartbeat: the sweeper
        ends them, and nobody pays.
        """
        with self._stopping:
            if self.seats.is_closed:
                return
            self.seats.is_closed = True
        deadline = time.monotonic() + settings.SHUTDOWN_GRACE_SECONDS
        while self.seats.jobs and time.monotonic() < deadline:
            for job in list(self.seats.jobs.values()):  # each time: a thread may just have been about to take one
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
        """Call a worker for rows that wait without a ticket: it was lost, or came to a worker without a seat."""
        for key in keys:
            waiting = self.seats.without_the_busy(Generation.objects.unclaimed(key), key)
            if self.seats.has_free() and waiting.exists():
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
        jobs = dict(self.seats.jobs)
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
        job = self.seats.find_to_stop(generation_id)
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
