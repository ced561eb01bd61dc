"""The thread with which each web process and each worker says that it lives, and sees whether beat does.

Beat cannot tell of its own end. So if it is silent, these processes do the rounds of the alerts and send what waits.
"""

import logging
import socket
import threading

from django.conf import settings
from django.db import DatabaseError, InterfaceError

from core.loops import Loop
from monitoring import processes
from monitoring.alerts.delivery import deliver_due
from monitoring.alerts.rounds import go_round, is_beat_silent

logger = logging.getLogger(__name__)

_ended = threading.Event()
_looking = threading.Lock()  # so that nothing is reported after the goodbye


def watch(name: str = "", *, is_worker: bool) -> None:
    """Begin to report, as a worker of this name or as the web processes of this machine, until the process ends."""
    if not settings.ALERT_WATCH:
        return
    own_name = name or f"web@{socket.gethostname()}"
    step = Loop(
        "watch",
        lambda: _look_unless_ended(own_name, is_worker=is_worker),
        pause_seconds=processes.REPORT_SECONDS,
        ended=_ended,
        begins_at_once=True,
    )
    step.revive()


def say_goodbye(name: str) -> None:
    """A worker ends as it should: nobody shall take it for silent."""
    _ended.set()
    if not settings.ALERT_WATCH:
        return
    try:
        with _looking:
            processes.forget(name)
    except (DatabaseError, InterfaceError) as error:
        logger.warning("the end of %s is not noted: %s", name, error)


def _look_unless_ended(name: str, *, is_worker: bool) -> None:
    with _looking:
        if not _ended.is_set():
            look_around(name, is_worker=is_worker)


def look_around(name: str, *, is_worker: bool) -> None:
    """Report once. If beat is silent, do a round in its stead. Raises DatabaseError."""
    processes.report(name, is_worker=is_worker)
    if is_beat_silent(settings.ALERT_BEAT_SILENT_SECONDS) and go_round(is_asked_by_beat=False):
        deliver_due()
