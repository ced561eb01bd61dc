"""Retries while PostgreSQL restarts, for work that must survive some seconds without the database.

Use this only for calls that may run twice: reads, and changes that detect that they were made before.
"""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import InterfaceError, OperationalError, connection

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 30.0  # a restart takes two seconds, a failover ten to twenty
PAUSE_SECONDS = 0.5
T = TypeVar("T")


def try_again_while_the_database_is_away(work: Callable[[], T], patience_seconds: float = PATIENCE_SECONDS) -> T:
    """Return the result of `work`, which is called again while the database is away.

    Raises the last error of `work` once the database has been away for `patience_seconds`. Do not call this inside a
    transaction: a lost connection must undo only what `work` did.
    """
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            return work()
        except (OperationalError, InterfaceError) as error:
            connection.close()
            if time.monotonic() >= deadline:
                raise
            logger.warning("the database is away, trying again: %s", str(error).strip())
            time.sleep(PAUSE_SECONDS)
