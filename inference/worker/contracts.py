"""What the manager of models asks of a loader, what it tells others, and why a model cannot be had."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from inference.engine.base import Engine


class LoadFailed(Exception):
    """The model cannot be loaded here; the text says why, for customers and operators."""


class NoRoom(Exception):
    """The model is fine, but other models were in use all the time that was given to wait."""


class LeftWhileWaiting(Exception):
    """Whoever asked does not wait any more."""


class ManagerClosed(Exception):
    """The worker is shutting down and loads nothing more."""


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Which model: its key in the catalogue, and its hub id or folder."""

    key: str
    source: str


class Loader(Protocol):
    """How models come into memory and what they need of it."""

    def measure(self, model: ModelSource) -> int:
        """Bytes of weights and cache, without loading anything. Raises LoadFailed."""
        ...

    def load(self, model: ModelSource) -> Engine:
        """Load it. Raises LoadFailed; any other exception counts as one that nobody foresaw."""
        ...

    def free_bytes(self) -> int:
        """What the device has free now."""
        ...

    def reclaim(self) -> None:
        """Give memory of closed engines back to the device."""
        ...


class Listener(Protocol):
    """Who is told, in the loading thread, before those who wait. It may raise: that is logged and changes nothing."""

    def model_loaded(self, model: ModelSource) -> None: ...

    def model_failed(self, model: ModelSource, reason: str) -> None:
        """It does not load; it is tried again after a while."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes and seconds. `idle_seconds` 0 keeps models for ever; `pinned` keys are unloaded only to make room."""

    budget_bytes: int
    idle_seconds: float = 0.0
    wait_seconds: float = 60.0  # for room, while other models are in use
    turn_seconds: float = 10.0  # a model in use keeps its place so long while another waits, then takes no more
    retry_seconds: float = 30.0  # doubled with every failure in a row
    pinned: frozenset[str] = frozenset()


class State(StrEnum):
    """Of a model in this process."""

    WAITING = "waiting for memory"
    LOADING = "loading"
    READY = "ready"
    LEAVING = "making room"  # ends its answers, takes no new ones
    CLOSING = "unloading"


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """What operators see of one model; times are seconds since 1970."""

    key: str
    state: str
    memory_bytes: int
    running: int
    waiting: int
    last_used_at: float
