"""Trying again while PostgreSQL restarts, for what must not be lost to a few seconds without it.

Only for calls that may be made twice: reads, and changes that find out that they were made before.
"""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import InterfaceError, OperationalError, connection

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 30.0  # a restart takes two, a failover ten to twenty
PAUSE_SECONDS = 0.5
T = TypeVar("T")


def try_again_while_the_database_is_away(work: Callable[[], T], patience_seconds: float = PATIENCE_SECONDS) -> T:
    """What `work` returns. Raises its OperationalError once the database has been away for `patience_seconds`.

    Not inside a transaction: what is lost with the connection is all that `work` did.
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
