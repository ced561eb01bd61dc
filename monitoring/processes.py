"""What processes report of themselves and of their machine: each worker, and the web processes of a machine together.

The figures are read on the machine itself. They are kept as one row for each process, which is written anew every few
seconds, so that operators see every machine and not only the one that answers them.
"""

import socket
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psutil
from django.conf import settings
from django.utils import timezone

from monitoring import machine
from monitoring.models import ProcessReport
from monitoring.totals.adding import limited_transaction

REPORT_SECONDS = 15.0
FORGOTTEN = timedelta(days=1)  # a process that was not heard of for so long is known no longer


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine: percent of its memory and of each watched disk in use, degrees Celsius of each GPU."""

    name: str
    memory_percent: float
    disks: dict[str, float]
    gpus: dict[str, int]


@dataclass(frozen=True, slots=True)
class Processes:
    """Who was heard of. A silent worker was there, did not say that it ends, and is not heard of any more."""

    machines: list[Machine]
    silent_workers: dict[str, datetime]


def report(name: str, *, is_worker: bool) -> None:
    """Say that this process lives, and how its machine does. Raises DatabaseError."""
    host = socket.gethostname()
    figures = read_figures()
    with limited_transaction():
        ProcessReport.objects.update_or_create(
            name=name[:200],
            defaults={"machine": host[:200], "is_worker": is_worker, "heard_at": timezone.now(), "figures": figures},
        )


def forget(name: str) -> None:
    """Delete the report of a process that ends as it should. Raises DatabaseError."""
    with limited_transaction():
        ProcessReport.objects.filter(name=name[:200]).delete()


def forget_the_lost() -> int:
    """Delete the reports of processes that were not heard of for a day. Returns how many there were."""
    return ProcessReport.objects.filter(heard_at__lt=timezone.now() - FORGOTTEN).delete()[0]


def read_figures() -> dict[str, Any]:
    """The figures of this machine, as `Machine` has them. A disk that is not there is left out."""
    disks = {}
    for path in settings.ALERT_DISK_PATHS or [str(settings.BASE_DIR)]:
        try:
            disks[path] = psutil.disk_usage(path).percent
        except OSError:
            continue
    gpus = machine.read_gpus()
    return {
        "memory_percent": psutil.virtual_memory().percent,
        "disks": disks,
        "gpus": {f"{number} {gpu['name']}": gpu["temperature_celsius"] for number, gpu in enumerate(gpus)},
    }


def read_processes() -> Processes:
    """The last figures of each machine that was heard of, and the silent workers. One query."""
    heard_since = timezone.now() - timedelta(seconds=settings.ALERT_WORKER_SILENT_SECONDS)
    machines, silent = {}, {}
    for row in ProcessReport.objects.order_by("heard_at"):
        if row.heard_at >= heard_since:
            machines[row.machine] = Machine(row.machine, **row.figures)
        elif row.is_worker:
            silent[row.name] = row.heard_at
    return Processes(sorted(machines.values(), key=lambda one: one.name), silent)
