"""What gunicorn calls in its main process (`--config`): the files of metrics begin anew, and lose ended processes.

No error stops the web server: then its metrics are wrong, and the log says why.
"""

import logging
from typing import Any

from monitoring.prometheus import processes

logger = logging.getLogger("gunicorn.error")


def on_starting(_server: Any) -> None:
    """Before the first process starts."""
    try:
        processes.begin_anew()
    except OSError as error:
        logger.error("the metrics of requests are not kept: %s", error)


def child_exit(_server: Any, _worker: Any) -> None:
    """After a process has ended, for whatever reason."""
    try:
        processes.forget_ended()
    except OSError as error:
        logger.error("the metrics of an ended process stay where they are: %s", error)
