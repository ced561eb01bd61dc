"""GPU workers of their own, and what became of their answers."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.db import connection

from inference.models import Generation
from inference.relay import streams
from tests.support.databases.queue import forget_tickets

ROOT = Path(__file__).parents[2]


class WorkerProcess:
    """A Celery GPU worker on the test database."""

    def __init__(self, name, directory, **environment):
        self.name = name
        self.ready = directory / name
        self.log = directory / f"{name}.log"
        database = connection.settings_dict
        url = (
            f"postgres://{database['USER']}:{database['PASSWORD']}@{database['HOST']}:{database['PORT']}"
            f"/{database['NAME']}"
        )
        arguments = ["-n", f"{name}@%h", "--pool=threads", "-Q", "generate.gemma-3-270m"]
        arguments += ["--without-gossip", "--without-mingle", "--loglevel=INFO", "--concurrency=8"]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "config", "worker", *arguments],
                cwd=ROOT,
                env={
                    **os.environ,
                    "DATABASE_URL": url,
                    **{
                        name: getattr(django_settings, name)
                        for name in ("BROKER_REDIS_URL", "RELAY_REDIS_URL", "CACHE_REDIS_URL")
                    },
                    "READY_DIR": str(directory),
                    "INFERENCE_ENGINE": "tests.inference.engines.SlowEngine",
                    **environment,
                },
                stdout=log,
                stderr=log,
            )

    def wait_ready(self):
        wait_for(lambda: self.ready.exists() or self.process.poll() is not None, 60)
        assert self.ready.exists(), self.log.read_text()
        return self

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)
        return time.monotonic()

    def wait_ended(self, seconds=20):
        assert self.process.wait(seconds) == 0, self.log.read_text()


@pytest.fixture
def start(tmp_path, catalogue):
    """Call it with a name for a worker process; those that still run are killed afterwards."""
    forget_tickets(catalogue)
    workers = []

    def begin(name, **environment):
        workers.append(WorkerProcess(name, tmp_path, **environment))
        return workers[-1]

    yield begin
    for worker in workers:
        if worker.process.poll() is None:
            worker.process.kill()
            worker.process.wait(10)
    forget_tickets(catalogue)


def wait_for(condition, seconds):
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)
    return result


def states(*generations):
    rows = Generation.objects.in_bulk([generation.pk for generation in generations])
    return [rows[generation.pk].state for generation in generations]


def tokens_of(generation):
    return streams.read_text(generation.pk)[1]
