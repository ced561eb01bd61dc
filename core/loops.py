"""Threads that repeat one step as long as a worker lives, also after errors."""

import logging
import threading
from collections.abc import Callable

import redis
from django.db import DatabaseError, InterfaceError, connection

logger = logging.getLogger(__name__)

EXPECTED = (DatabaseError, InterfaceError, redis.RedisError)  # a server is away: one log line is enough


class Loop:
    """Calls `step` every `pause_seconds` until `ended` is set. With `begins_at_once`, the first pause is left out.

    Charges depend on these threads: without heartbeats, healthy answers end as lost. So any error of a step is logged,
    and the next step still runs. If the thread itself ends, `revive` starts another one.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[], None],
        *,
        pause_seconds: float,
        ended: threading.Event,
        begins_at_once: bool = False,
    ) -> None:
        self.name = name
        self._begins_at_once = begins_at_once
        self._step = step
        self._pause_seconds = pause_seconds
        self._ended = ended
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def revive(self) -> None:
        """Start the thread if it does not run. Does nothing once `ended` is set."""
        with self._starting:
            if self._ended.is_set() or (self._thread is not None and self._thread.is_alive()):
                return
            if self._thread is not None:
                logger.error("the thread of %s had ended and begins anew", self.name)
            self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
            self._thread.start()

    def _run(self) -> None:
        if self._begins_at_once:
            self._try_step()
        while not self._ended.wait(self._pause_seconds):
            self._try_step()

    def _try_step(self) -> None:
        try:
            self._step()
        except EXPECTED as error:
            logger.warning("%s: %s, trying again", self.name, error)
        except Exception:
            logger.exception("%s: a step failed, the next one comes", self.name)
        finally:
            connection.close()
