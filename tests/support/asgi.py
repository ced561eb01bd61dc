"""The web application on a real uvicorn, in a thread of the test process: patches and settings of a test hold there."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from core.serving.handlers import Dispatcher
from core.serving.web_server import PatientProtocol


@contextmanager
def serve() -> Iterator[str]:
    """Serve on a free port of this machine and yield the address."""
    config = uvicorn.Config(
        Dispatcher(), port=0, log_level="critical", lifespan="off", loop="asyncio", http=PatientProtocol
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="uvicorn")
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=30)
