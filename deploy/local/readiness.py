"""When an app is ready: each function makes a check for `App(is_ready=...)`."""

import http.client
from collections.abc import Callable
from pathlib import Path

from deploy.local.supervisor import App

_HTTP_SECONDS = 1.0  # the supervisor does nothing else meanwhile


def answers(address: str, path: str) -> Callable[[App], bool]:
    """GET http://address/path answers 200."""

    def is_ready(_app: App) -> bool:
        connection = http.client.HTTPConnection(address, timeout=_HTTP_SECONDS)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    return is_ready


def touched(file: Path) -> Callable[[App], bool]:
    """The app has made this file; a Celery worker does when it takes tasks."""
    return lambda _app: file.exists()


def alive_for(seconds: float) -> Callable[[App], bool]:
    """The app has not died at once; for those that offer nothing to ask."""
    return lambda app: app.age_seconds >= seconds
