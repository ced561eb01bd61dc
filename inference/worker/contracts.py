"""The interfaces of the model manager: the loader that it needs, the listener that it tells, its limits and errors."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from inference.engine.base import Engine


class LoadFailed(Exception):
    """The model cannot be loaded here; the text says why, for customers and operators."""


class NoRoom(Exception):
    """There was no memory for the model: others were in use during all of `Limits.wait_seconds`."""


class LeftWhileWaiting(Exception):
    """The caller of `lease` gave up waiting for the model."""


class ManagerClosed(Exception):
    """The worker is shutting down and loads nothing more."""


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Which model: its key in the catalogue, and its hub id or folder."""

    key: str
    source: str


class Loader(Protocol):
    """Loads models, and tells how much memory they need and how much is free."""

    def measure(self, model: ModelSource) -> int:
        """Bytes that its weights and cache will need. Loads nothing. Raises LoadFailed."""
        ...

    def load(self, model: ModelSource) -> Engine:
        """Load it. Raises LoadFailed; any other exception counts as unexpected and is logged in full."""
        ...

    def free_bytes(self) -> int:
        """Bytes that are free on the device now."""
        ...

    def reclaim(self) -> None:
        """Give memory of closed engines back to the device."""
        ...


class Listener(Protocol):
    """Is called in the loading thread, before the waiting leases continue. Its exceptions are logged and ignored."""

    def model_loaded(self, model: ModelSource) -> None: ...

    def model_failed(self, model: ModelSource, reason: str) -> None:
        """The model could not be loaded. It may be tried again after a pause."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """The manager's limits. `idle_seconds` 0 keeps models for ever; `pinned` keys are unloaded only to make room."""

    budget_bytes: int
    idle_seconds: float = 0.0
    wait_seconds: float = 60.0  # for room, while other models are in use
    turn_seconds: float = 10.0  # while another model waits, a model in use takes new requests only so long
    retry_seconds: float = 30.0  # doubled with every failure in a row
    pinned: frozenset[str] = frozenset()


class State(StrEnum):
    """The state of a model in this process."""

    WAITING = "waiting for memory"
    LOADING = "loading"
    READY = "ready"
    LEAVING = "making room"  # ends its answers, takes no new ones
    CLOSING = "unloading"


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """One model as operators see it; `last_used_at` is in seconds since 1970."""

    key: str
    state: str
    memory_bytes: int
    running: int
    waiting: int
    last_used_at: float
