"""How workers are called: a ticket in a model's queue says that rows of it wait (docs/adr/0018).

One unopened ticket is enough for all of them: who opens it takes whatever waits. So a flag in Redis stands for it, and
another is sent only when there is none. Whoever inserted a row before the flag was taken down is seen by the worker
that took it down; whoever comes after it sends a ticket. A ticket that is lost is made up for by the workers, which
look by themselves now and then.
"""

import contextlib

import redis
from celery import current_app
from kombu.exceptions import OperationalError

from inference.models import queue_of
from inference.relay import streams

TASK = "inference.generate"
UNOPENED_SECONDS = 2  # then another may be sent: the flag may stand for a ticket that was lost


def send_ticket(model_key: str) -> None:
    """Have a worker look for queued rows of this model. Raises kombu's OperationalError with the broker away."""
    flag = _flag(model_key)
    try:
        is_first = streams.connection().set(flag, "1", nx=True, ex=UNOPENED_SECONDS)
    except redis.RedisError as error:
        raise OperationalError(str(error)) from error
    if not is_first:
        return
    try:
        current_app.send_task(TASK, kwargs={"model_key": model_key}, queue=queue_of(model_key))
    except OperationalError:
        open_ticket(model_key)
        raise


def open_ticket(model_key: str) -> None:
    """From now on a new row sends a new ticket; call it before looking what waits."""
    with contextlib.suppress(redis.RedisError):
        streams.connection().delete(_flag(model_key))


def _flag(model_key: str) -> str:
    return f"ticket:{model_key}"
