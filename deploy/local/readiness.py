"""When an app is ready and whether it is well: functions that make a check for `App(is_ready=..., is_well=...)`."""

import http.client
import time
from collections.abc import Callable
from pathlib import Path

from deploy.local.supervisor import App

_HTTP_SECONDS = 1.0  # the supervisor does nothing else meanwhile
_BUSY_SECONDS = 3.0  # a server that has much to do may let wait for so long
_SILENT_SECONDS = 10.0  # workers touch their file every two


def answers(address: str, path: str) -> Callable[[App], bool]:
    """GET http://address/path answers 200."""

    return lambda _app: _status(address, path, _HTTP_SECONDS) == 200


def is_served(address: str, path: str) -> Callable[[], bool]:
    """GET http://address/path answers at all."""
    return lambda: _status(address, path, _BUSY_SECONDS) is not None


def beats(file: Path) -> Callable[[], bool]:
    """The app has touched this file a moment ago; a Celery process does all the time."""

    def is_well() -> bool:
        try:
            return time.time() - file.stat().st_mtime < _SILENT_SECONDS
        except OSError:
            return False

    return is_well


def touched(file: Path) -> Callable[[App], bool]:
    """The app has made this file; a Celery worker does when it takes tasks."""
    return lambda _app: file.exists()


def alive_for(seconds: float) -> Callable[[App], bool]:
    """The app has not died at once; for those that offer nothing to ask."""
    return lambda app: app.age_seconds >= seconds


def _status(address: str, path: str, seconds: float) -> int | None:
    connection = http.client.HTTPConnection(address, timeout=seconds)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
