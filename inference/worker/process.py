"""The one worker of this process, and the Celery signals that make it load models before tasks, report, and stop."""

import threading
from functools import cache
from typing import Any

from celery import current_app
from celery.signals import celeryd_after_setup, worker_ready, worker_shutting_down
from django.conf import settings
from django.db import connection

from core.garbage import look_for_garbage_less_often
from inference.worker.loader import import_engine
from inference.worker.worker import Worker

QUEUE_PREFIX = "generate."

_making = threading.Lock()


@cache
def _make_worker() -> Worker:
    return Worker()


def current_worker() -> Worker:
    """The worker of this process, made at the first call."""
    with _making:
        return _make_worker()


def _served_models() -> list[str]:
    """The keys of the models whose queues this process listens to; none in a worker of the default queue."""
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
    """Start reporting. Also import torch (8 s) now, while a GPU worker without a model waits for its first task."""
    keys = _served_models()
    if keys:
        current_worker().seats.count = sender.controller.concurrency
        current_worker().look_after(keys)
        threading.Thread(target=_finish_loading, daemon=True).start()


def _finish_loading() -> None:
    import_engine()
    look_for_garbage_less_often()


@worker_shutting_down.connect
def shut_down_current_worker(**_kwargs: object) -> None:
    """On SIGTERM, shut the worker down, in a thread, since this is called in Celery's signal handler."""
    if _make_worker.cache_info().currsize:
        threading.Thread(target=current_worker().shut_down, name="worker-shutdown").start()
