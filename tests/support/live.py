"""The web application on a real uvicorn and a Celery worker with the fake engine, in threads of the test process.

So the tests talk through sockets, queue and relay as customers do, and may still look into the database and set the
engine's pace.
"""

import threading
import time
from contextlib import ExitStack
from typing import Any

import uvicorn
from celery.contrib.testing.worker import start_worker

from config.celery import app
from core.serving.handlers import Dispatcher
from core.serving.web_server import PatientProtocol
from inference.catalogue import DEMO_KEY


class LiveServer:
    """Started by the first test of a module that needs it."""

    def __init__(self) -> None:
        self.url = ""
        self._stack = ExitStack()
        self._server: uvicorn.Server | None = None

    def start(self) -> None:
        """Serve on a free port of this machine; a second call changes nothing."""
        if self._server is not None:
            return
        config = uvicorn.Config(
            Dispatcher(), port=0, log_level="warning", lifespan="off", loop="asyncio", http=PatientProtocol
        )
        self._server = server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, name="uvicorn")
        thread.start()
        while not server.started:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self._stack.callback(thread.join, timeout=10)
        self._stack.callback(setattr, server, "should_exit", True)
        options: dict[str, Any] = {"pool": "threads", "concurrency": 8, "perform_ping_check": False}
        queues = [f"generate.{DEMO_KEY}"]
        self._stack.enter_context(start_worker(app, queues=queues, loglevel="ERROR", shutdown_timeout=20, **options))

    def stop(self) -> None:
        """End both."""
        self._stack.close()
