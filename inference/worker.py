"""What runs in a GPU worker process: engines loaded once, answers written by the pool's threads.

A thread claims the row, streams the engine's text to the relay, and settles. Two more threads serve all of them:
one tells the database every two seconds that the running answers are alive, one listens for Stop.
"""

import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from uuid import UUID

import redis
from celery import current_app
from celery.signals import worker_ready, worker_shutting_down
from django.conf import settings
from django.db import DatabaseError, connection
from django.utils import timezone
from django.utils.module_loading import import_string

from inference import relay
from inference.catalogue import ModelUnavailable, find_weights
from inference.engine.base import Delta, Engine, EngineError, EngineRequest, Sampling
from inference.models import CatalogueModel, Generation, GenerationState
from inference.services import cancel_generation, fail_generation, settle_generation

logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Job:
    """One answer in this process. `stop` ends it at a customer's wish, `abandon` because it is lost or too late."""

    generation_id: UUID
    engine: Engine | None = None
    stopped: threading.Event = field(default_factory=threading.Event)
    abandoned_because: str = ""
    started: float = field(default_factory=time.monotonic)

    def stop(self) -> None:
        """End within a decode step; what came is charged."""
        self.stopped.set()
        if self.engine is not None:
            self.engine.cancel(str(self.generation_id))

    def abandon(self, why: str) -> None:
        """End within a decode step; nothing is charged."""
        self.abandoned_because = why
        self.stop()


class StoppedBeforeItBegan(Exception):
    """The customer pressed Stop while the model was loading: nothing was computed, nothing is charged."""


class Worker:
    """The engines and the running jobs of this process."""

    def __init__(self) -> None:
        self._engines: dict[str, Engine] = {}
        self._loading = threading.Lock()
        self._jobs: dict[UUID, Job] = {}
        for target in (self._beat, self._listen):
            threading.Thread(target=target, name=f"worker{target.__name__}", daemon=True).start()

    def run(self, generation_id: UUID) -> None:
        """Claim and answer one generation. Whatever fails in here, the customer pays nothing for it."""
        job = Job(generation_id)
        if self._jobs.setdefault(generation_id, job) is not job:  # known before the claim: no Stop is missed
            return
        writer = relay.RelayWriter(generation_id)
        text: list[str] = []
        tokens = 0
        try:
            if not Generation.objects.claim(generation_id):
                return
            generation = Generation.objects.select_related("model").get(pk=generation_id)
            connection.close()  # back to the pool: the engine may take minutes
            finish_reason = ""
            for delta in self._write(generation, job, writer):
                text.append(delta.text)
                tokens = delta.completion_tokens
                writer.write(delta.text, tokens)
                finish_reason = delta.finish_reason or finish_reason
            if job.abandoned_because:
                raise EngineError(job.abandoned_because)
            ended = settle_generation(
                generation_id=generation_id,
                text="".join(text),
                completion_tokens=tokens,
                finish_reason=finish_reason,
            )
            writer.end(ended.state if ended else GenerationState.FAILED)
        except StoppedBeforeItBegan:
            cancel_generation(generation_id=generation_id)
        except Exception as error:  # noqa: BLE001  nothing that fails here may cost the customer
            self._fail(generation_id, error, "".join(text), tokens, writer)
        finally:
            self._jobs.pop(generation_id, None)
            connection.close()

    def shut_down(self) -> None:
        """Give running answers SHUTDOWN_GRACE_SECONDS to end, then interrupt the rest; they cost nothing."""
        deadline = time.monotonic() + settings.SHUTDOWN_GRACE_SECONDS
        while self._jobs and time.monotonic() < deadline:
            time.sleep(0.05)
        for job in list(self._jobs.values()):
            job.abandon("The service was restarted.")
        while self._jobs and time.monotonic() < deadline + 2:
            time.sleep(0.05)
        for engine in self._engines.values():
            engine.close()

    def _write(self, generation: Generation, job: Job, writer: relay.RelayWriter) -> Iterator[Delta]:
        engine = job.engine = self._engine_for(generation.model, writer)
        request = EngineRequest(
            id=str(generation.pk),
            prompt_token_ids=generation.prompt_token_ids,
            max_tokens=generation.max_completion_tokens,
            sampling=Sampling(generation.temperature, generation.top_p, generation.top_k, generation.seed),
            stop=tuple(generation.stop),
        )
        deltas = engine.generate(request)
        if job.stopped.is_set():
            raise StoppedBeforeItBegan
        for delta in deltas:
            yield delta
            if job.stopped.is_set() and not delta.finish_reason:
                engine.cancel(request.id)

    def _engine_for(self, model: CatalogueModel, writer: relay.RelayWriter) -> Engine:
        """The engine of a model, loaded once a process and built anew when it has died."""
        engine = self._living_engine(model.key)
        if engine is None:
            writer.notice("loading")
            with self._loading:
                engine = self._living_engine(model.key) or self._load_engine(model)
        return engine

    def _living_engine(self, key: str) -> Engine | None:
        engine = self._engines.get(key)
        return engine if engine is not None and engine.is_alive() else None

    def _load_engine(self, model: CatalogueModel) -> Engine:
        started = time.monotonic()
        folder = find_weights(key=model.key, source=model.source)
        engine: Engine = import_string(settings.INFERENCE_ENGINE)(folder, settings.INFERENCE_THREADS)
        self._engines[model.key] = engine
        logger.info("loaded %s in %.1f s", model.key, time.monotonic() - started)
        return engine

    def _fail(self, generation_id: UUID, error: Exception, text: str, tokens: int, writer: relay.RelayWriter) -> None:
        known = isinstance(error, EngineError | ModelUnavailable)
        logger.log(logging.WARNING if known else logging.ERROR, "generation %s failed", generation_id, exc_info=error)
        try:
            fail_generation(
                generation_id=generation_id,
                error=str(error)[:300] if known else "Something went wrong on our side.",
                text=text,
                completion_tokens=tokens,
            )
        except DatabaseError:
            logger.exception("generation %s is left to the sweeper", generation_id)
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
                job.abandon("It was ended elsewhere.")
            elif stop_requested_at and not job.stopped.is_set():
                job.stop()
            elif time.monotonic() - job.started > settings.GENERATION_SECONDS:
                job.abandon("It took too long.")

    def _listen(self) -> None:
        """Stop what the web asks to stop. While Redis is away the heartbeat sees it in the row."""
        while True:
            try:
                with relay.subscribe_to_stops() as channel:
                    while True:
                        message = channel.get_message(timeout=1.0)
                        job = self._jobs.get(UUID(message["data"])) if message else None
                        if job is not None:
                            job.stop()
            except redis.RedisError:
                time.sleep(1)


_making = threading.Lock()


@cache
def _make_worker() -> Worker:
    return Worker()


def current_worker() -> Worker:
    """The worker of this process, made at its first task."""
    with _making:
        return _make_worker()


@worker_ready.connect
def import_engine_early(**_kwargs: object) -> None:
    """Import torch (8 s) while a GPU worker waits for its first question; the weights load with that question."""
    if any(queue.startswith("generate.") for queue in current_app.amqp.queues.consume_from):
        threading.Thread(target=import_string, args=(settings.INFERENCE_ENGINE,), daemon=True).start()


@worker_shutting_down.connect
def shut_down_current_worker(**_kwargs: object) -> None:
    """On SIGTERM, end or interrupt what runs; in a thread, since this is Celery's signal handler."""
    if _make_worker.cache_info().currsize:
        threading.Thread(target=current_worker().shut_down, name="worker-shutdown").start()
