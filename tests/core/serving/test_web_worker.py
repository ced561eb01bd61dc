"""The gunicorn worker that serves in production."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.stack import wait_until

ROOT = Path(__file__).resolve().parents[3]
APP = """
import atexit, pathlib

FOLDER = pathlib.Path(__file__).parent
atexit.register(lambda: (FOLDER / "noted").touch())
(FOLDER / "began").touch()


async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})
"""


@pytest.mark.parametrize("to", [signal.SIGTERM, signal.SIGHUP], ids=["stop", "reload"])
def test_a_worker_that_is_told_to_stop_still_does_what_is_left_for_its_end(tmp_path, to):
    (tmp_path / "served.py").write_text(APP)
    path = os.pathsep.join([str(ROOT), str(tmp_path)])
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "served:app",
        "-k",
        "core.serving.web_server.WebWorker",
        "-b",
        "127.0.0.1:0",
    ]
    with subprocess.Popen(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": path}) as server:
        try:
            wait_until((tmp_path / "began").exists, 20, "the worker to begin")
            server.send_signal(to)
            wait_until((tmp_path / "noted").exists, 20, "what is left for the end")
        finally:
            server.terminate()
            server.wait(20)
