"""Calls workers with tickets: a task in a model's Celery queue says that rows of this model wait (docs/adr/0018).

One unopened ticket is enough for all waiting rows, since the worker that opens it takes every row that it has a seat
for. So a flag in Redis marks an unopened ticket, and a new ticket is sent only if there is no flag. A worker deletes
the flag before it looks for rows. So it sees every row that was inserted before, and a row that is inserted later
sends a new ticket. If a ticket is lost, workers still find the rows, since they look for rows now and then.
"""

import contextlib

import redis
from celery import current_app
from kombu.exceptions import OperationalError

from inference.models import queue_of
from inference.relay import streams

TASK = "inference.generate"
UNOPENED_SECONDS = 2  # lifetime of the flag: then another ticket may be sent, since the first may be lost


def send_ticket(model_key: str) -> None:
    """Have a worker look for queued rows of this model. Raises kombu's OperationalError while the broker is away."""
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
    """Delete the flag, so that the next row sends a new ticket. Call it before looking for rows."""
    with contextlib.suppress(redis.RedisError):
        streams.connection().delete(_flag(model_key))


def _flag(model_key: str) -> str:
    return f"ticket:{model_key}"
