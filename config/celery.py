"""The Celery app. Queues: `generate.<model key>` for GPU workers, `mail` for the mail worker, else `default`."""

import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from celery import Celery
from celery.signals import beat_init, worker_init, worker_ready, worker_shutdown

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.local")

ALIVE_SECONDS = 2.0

app = Celery("tally")
app.config_from_object("config.celery_settings")
app.autodiscover_tasks()


@worker_init.connect
@beat_init.connect
def refuse_too_mighty_a_role(**_kwargs: object) -> None:
    """Refuse to start a worker or beat whose PostgreSQL role or Redis users have too many rights.

    Limits of alerts that contradict each other are refused too. Raises SystemExit.
    """
    from django.core.exceptions import ImproperlyConfigured

    from core.postgresql.roles import refuse_to_start_with_might
    from core.redis_users import refuse_mighty_users
    from monitoring.alerts.checks import refuse_contradictions

    try:
        refuse_contradictions()
        refuse_mighty_users()
        refuse_to_start_with_might()
    except ImproperlyConfigured as error:  # Celery would only log it
        raise SystemExit(str(error)) from None


@worker_ready.connect
def tell_supervisor_ready(sender: Any, **_kwargs: object) -> None:
    """Touch READY_DIR/<node name before the @>, which tells a supervisor that the worker takes tasks."""
    name = sender.hostname.partition("@")[0]
    _touch(name)
    _tell_supervisor_alive(name)


@worker_ready.connect
def begin_to_report(sender: Any, **_kwargs: object) -> None:
    """Report that this worker lives, for the alerts."""
    from monitoring.alerts.watching import watch

    watch(sender.hostname, is_worker=True)


@worker_shutdown.connect
def end_to_report(sender: Any, **_kwargs: object) -> None:
    """Note that this worker ends as it should."""
    from monitoring.alerts.watching import say_goodbye

    say_goodbye(sender.hostname)


@beat_init.connect
def tell_supervisor_of_beat(**_kwargs: object) -> None:
    """Touch only READY_DIR/beat.alive, again and again: beat is ready as soon as it starts."""
    _tell_supervisor_alive("beat")


def _tell_supervisor_alive(name: str) -> None:
    """Touch READY_DIR/<name>.alive every two seconds. The file of a process that hangs gets old."""

    def go_on() -> None:
        while True:
            with suppress(OSError):  # such as a full disk: the next touch may succeed, so do not end this thread
                _touch(f"{name}.alive")
            time.sleep(ALIVE_SECONDS)

    threading.Thread(target=go_on, name="alive", daemon=True).start()


def _touch(name: str) -> None:
    from django.conf import settings

    if settings.READY_DIR:
        Path(settings.READY_DIR).mkdir(parents=True, exist_ok=True)
        (Path(settings.READY_DIR) / name).touch()
