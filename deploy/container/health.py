"""The health check of Tally's images: exit status 0 while the process of this container does its work, else 1.

The web server and Flower are asked over HTTP. Celery's processes touch a file every two seconds (config/celery.py), and
a worker makes another one once it takes tasks. The other roles end by themselves and are always well.
"""

import http.client
import os
import sys
import time
from pathlib import Path

from deploy import roles

WEB_PORT, FLOWER_PORT = 8000, 5555
_NODES = {"worker": roles.GPU_NODE, **{f"worker-{name}": name for name in roles.SIDE_WORKERS}}
_ANSWER_SECONDS = 3.0
_SILENT_SECONDS = 10.0


def directory() -> Path:
    """READY_DIR, which the settings read too; an empty one is the default of the images."""
    return Path(os.environ.get("READY_DIR") or "/tmp/ready")  # noqa: S108


def role_file() -> Path:
    """Where the entrypoint writes down which role this container has."""
    return directory() / "role"


def signs() -> list[Path]:
    """Every file that a process of ours makes in the directory."""
    nodes = [*_NODES.values(), "beat"]
    return [role_file(), *(directory() / f"{node}{end}" for node in nodes for end in ("", ".alive"))]


def find_fault() -> str:
    """What is wrong with the process of this container; an empty text if nothing is."""
    role = role_file().read_text()
    if role == "web":
        return _ask(WEB_PORT, "/healthz")
    if role == "flower":
        prefix = os.environ.get("FLOWER_URL_PREFIX")
        return _ask(FLOWER_PORT, f"/{prefix}/healthcheck" if prefix else "/healthcheck")
    if role in _NODES and not (directory() / _NODES[role]).exists():
        return "it does not take tasks yet"
    if role in _NODES or role == "beat":
        return _listen(directory() / f"{_NODES.get(role, role)}.alive")
    return ""


def _ask(port: int, path: str) -> str:
    """The Host is one that the site answers to."""
    host = os.environ.get("ALLOWED_HOSTS", "").partition(",")[0] or "localhost"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_ANSWER_SECONDS)
    try:
        connection.request("GET", path, headers={"Host": host})
        status = connection.getresponse().status
        return "" if status == 200 else f"{path} answers {status}"
    except (OSError, http.client.HTTPException) as error:
        return f"{path} does not answer: {error}"
    finally:
        connection.close()


def _listen(file: Path) -> str:
    silent = time.time() - file.stat().st_mtime if file.exists() else float("inf")
    return "" if silent < _SILENT_SECONDS else f"it has been silent for {silent:.0f} s"


if __name__ == "__main__":
    sys.exit(find_fault() or 0)
