"""Manages the engines of one worker process: loads them on demand, within a memory budget, and unloads idle ones.

It is plain Python: it uses engines by their interface (`engine.base`) and loads models through a `Loader`. Each model
is loaded by a thread of its own, so a caller that waits for it can stop waiting at any time. A request holds a lease
while it uses an engine, and an engine with a lease is never closed to make room.

This state is lost with the process, and nothing else depends on it: generations and money are in the database.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from inference.engine.base import Engine
from inference.weights.memory import for_people
from inference.worker.contracts import (
    LeftWhileWaiting,
    Limits,
    Listener,
    LoadedModel,
    Loader,
    LoadFailed,
    ManagerClosed,
    ModelSource,
    NoRoom,
    State,
)

logger = logging.getLogger(__name__)


MOST_BACK_OFF = 32  # the longest pause between two tries to load a model is so many times the first one


@dataclass(slots=True, eq=False)
class _Slot:
    model: ModelSource
    state: State = State.WAITING
    memory_bytes: int = 0  # reserved from before the model is loaded until after it is unloaded
    engine: Engine | None = None
    running: int = 0
    waiting: int = 0
    last_used: float = field(default_factory=time.monotonic)
    error: Exception | None = None

    @property
    def is_in_use(self) -> bool:
        """Whether a request uses it or is about to: threads that waited for it may not have woken up yet."""
        return self.running > 0 or (self.state == State.READY and self.waiting > 0)


@dataclass(slots=True)
class _Failure:
    reason: str
    count: int
    retry_at: float


class ModelManager:
    """See the module. All methods may be called from any thread."""

    def __init__(self, *, loader: Loader, limits: Limits, listener: Listener) -> None:
        self._loader = loader
        self._limits = limits
        self._listener = listener
        self._slots: dict[str, _Slot] = {}
        self._failures: dict[str, _Failure] = {}
        self._changed = threading.Condition()  # guards everything here; notified at every change
        self._is_closed = False

    @contextmanager
    def lease(self, model: ModelSource, *, left: threading.Event | None = None) -> Iterator[Engine]:
        """The model's engine, loaded first if necessary. Raises LoadFailed, NoRoom, ManagerClosed, LeftWhileWaiting.

        Many threads that ask at the same time load the model only once. To stop waiting, set `left` and call `wake`.
        """
        slot, engine = self._enter(model, left or threading.Event())
        try:
            yield engine
        finally:
            with self._changed:
                slot.running -= 1
                slot.last_used = time.monotonic()
                self._changed.notify_all()

    def is_ready(self, key: str) -> bool:
        """Whether a lease of this model would start without waiting."""
        with self._changed:
            slot = self._slots.get(key)
            return slot is not None and slot.state == State.READY and slot.engine is not None and slot.engine.is_alive()

    def is_due(self, key: str) -> bool:
        """Whether a model that is not loaded may be tried now: it never failed, or its pause is over."""
        with self._changed:
            failure = self._failures.get(key)
            return key not in self._slots and (failure is None or time.monotonic() >= failure.retry_at)

    def wake(self) -> None:
        """Wake all waiting leases, so that each one checks its `left`."""
        with self._changed:
            self._changed.notify_all()

    def unload_idle(self) -> None:
        """Unload models that were not used for `idle_seconds`. Call it regularly."""
        if not self._limits.idle_seconds:
            return
        limit = time.monotonic() - self._limits.idle_seconds
        with self._changed:
            idle = [
                slot
                for slot in self._slots.values()
                if slot.state == State.READY
                and not slot.is_in_use
                and slot.last_used < limit
                and slot.model.key not in self._limits.pinned
            ]
            for slot in idle:
                slot.state = State.CLOSING
        for slot in idle:
            self._close(slot)

    def adopt(self, model: ModelSource, engine: Engine, memory_bytes: int = 0) -> None:
        """Take an engine that was built elsewhere."""
        with self._changed:
            self._slots[model.key] = _Slot(model, State.READY, memory_bytes, engine)
            self._changed.notify_all()

    def close(self) -> None:
        """Close every engine and load no more. Answers that still run end with EngineError."""
        with self._changed:
            self._is_closed = True
            open_slots = [slot for slot in self._slots.values() if slot.engine and slot.state != State.CLOSING]
            for slot in open_slots:
                slot.state = State.CLOSING
            self._changed.notify_all()
        for slot in open_slots:
            self._close(slot)

    def loaded_models(self) -> list[LoadedModel]:
        """All models that are loaded, loading or unloading now."""
        with self._changed:
            now, wall = time.monotonic(), time.time()
            return [
                LoadedModel(
                    key, slot.state, slot.memory_bytes, slot.running, slot.waiting, wall - (now - slot.last_used)
                )
                for key, slot in self._slots.items()
            ]

    def failures(self) -> dict[str, str]:
        """The reasons of the models that could not be loaded, by key."""
        with self._changed:
            return {key: failure.reason for key, failure in self._failures.items()}

    # Leasing an engine. A method below whose name ends with "locked" must be called with the lock held.

    def _enter(self, model: ModelSource, left: threading.Event) -> tuple[_Slot, Engine]:
        with self._changed:
            while True:
                if left.is_set():
                    self._changed.notify_all()  # the loading thread may wait for room that is not needed any more
                    raise LeftWhileWaiting
                if self._is_closed:
                    raise ManagerClosed
                slot = self._slots.get(model.key) or self._begin_locked(model)
                engine = slot.engine
                if slot.state == State.READY and engine is not None:
                    if engine.is_alive():
                        slot.running += 1
                        slot.last_used = time.monotonic()
                        return slot, engine
                    slot.state = State.CLOSING  # the engine died: close it, then load the model again
                    threading.Thread(target=self._close, args=(slot,), name=f"bury-{model.key}", daemon=True).start()
                self._wait_for_locked(slot)

    def _begin_locked(self, model: ModelSource) -> _Slot:
        failure = self._failures.get(model.key)
        if failure is not None and time.monotonic() < failure.retry_at:
            raise LoadFailed(failure.reason)
        slot = self._slots[model.key] = _Slot(model)
        threading.Thread(target=self._load, args=(slot,), name=f"load-{model.key}", daemon=True).start()
        return slot

    def _wait_for_locked(self, slot: _Slot) -> None:
        slot.waiting += 1
        try:
            self._changed.wait()
        finally:
            slot.waiting -= 1
        if slot.error is not None:
            raise type(slot.error)(*slot.error.args)

    # Loading, in a thread of its own.

    def _load(self, slot: _Slot) -> None:
        started = time.monotonic()
        reason: str | None = None
        try:
            self._make_room(slot, self._loader.measure(slot.model))
            engine = self._loader.load(slot.model)
        except (NoRoom, ManagerClosed) as error:
            self._end_waiting(slot, error)
        except LeftWhileWaiting:
            self._end_waiting(slot, None)  # a thread that began to wait at the last moment starts a new loading
        except Exception as error:  # noqa: BLE001  the waiting threads must get every error
            reason = _reason_of(error, slot.model.key)
        else:
            logger.info("loaded %s in %.1f s", slot.model.key, time.monotonic() - started)
            self._open(slot, engine)
        if reason is not None:  # not in the except block: there, the error still keeps the loaded data in memory
            self._fail(slot, reason)

    def _open(self, slot: _Slot, engine: Engine) -> None:
        """Give the loaded engine to the waiting threads, or close it if the manager was closed in the meantime."""
        self._tell(self._listener.model_loaded, slot.model)
        with self._changed:
            self._failures.pop(slot.model.key, None)
            slot.engine = engine
            slot.last_used = time.monotonic()
            slot.state = State.CLOSING if self._is_closed else State.READY
            self._changed.notify_all()
        if slot.state == State.CLOSING:
            self._close(slot)

    def _fail(self, slot: _Slot, reason: str) -> None:
        if slot.state == State.LOADING:  # not for missing files: reclaiming stops all threads for 0.25 s
            self._loader.reclaim()
        with self._changed:
            earlier = self._failures.get(slot.model.key)
            count = earlier.count + 1 if earlier else 1
            pause = self._limits.retry_seconds * min(2 ** (count - 1), MOST_BACK_OFF)
            self._failures[slot.model.key] = _Failure(reason, count, time.monotonic() + pause)
        self._tell(self._listener.model_failed, slot.model, reason)
        self._end_waiting(slot, LoadFailed(reason))

    def _end_waiting(self, slot: _Slot, error: Exception | None) -> None:
        with self._changed:
            slot.error = error
            self._slots.pop(slot.model.key, None)
            self._changed.notify_all()

    def _tell(self, what: Callable[..., None], *args: object) -> None:
        try:
            what(*args)
        except Exception:
            logger.exception("the listener failed; the models go on")

    # Making room.

    def _make_room(self, slot: _Slot, needed_bytes: int) -> None:
        """Return once `needed_bytes` are reserved for `slot`. Closes idle models for it, the least recently used first.

        If models in use are in the way, they take no new requests after `turn_seconds`, until there is room. Raises
        LoadFailed (there can never be enough), NoRoom (others were in use for too long), LeftWhileWaiting (no thread
        waits for the model any more), ManagerClosed.
        """
        started = time.monotonic()
        try:
            while True:
                with self._changed:
                    victims = self._next_victims_locked(slot, needed_bytes, started)
                    if not victims:
                        return
                for victim in victims:
                    logger.info("unloading %s to make room for %s", victim.model.key, slot.model.key)
                    self._close(victim)
        finally:
            with self._changed:
                for other in self._slots.values():
                    if other.state == State.LEAVING:
                        other.state = State.READY
                self._changed.notify_all()

    def _next_victims_locked(self, slot: _Slot, needed_bytes: int, started: float) -> list[_Slot]:
        """Wait until there is room (reserve it, return no slots) or idle models can make room (return their slots)."""
        while True:
            missing = self._missing_locked(needed_bytes)
            if missing <= 0:
                slot.memory_bytes, slot.state = needed_bytes, State.LOADING
                return []
            self._refuse_hopeless_locked(missing, needed_bytes)
            waited = time.monotonic() - started
            victims = self._choose_victims_locked(missing)
            if victims and not any(victim.is_in_use for victim in victims):
                for victim in victims:
                    victim.state = State.CLOSING
                return victims
            if waited >= self._limits.turn_seconds:
                for victim in victims:
                    victim.state = State.LEAVING
            if self._is_closed:
                raise ManagerClosed
            if not slot.waiting:
                raise LeftWhileWaiting
            if waited >= self._limits.wait_seconds:
                raise NoRoom("Other models are in use right now. Try again in a minute.")
            next_step = self._limits.turn_seconds if waited < self._limits.turn_seconds else self._limits.wait_seconds
            self._changed.wait(timeout=max(0.01, next_step - waited))

    def _missing_locked(self, needed_bytes: int) -> int:
        """How many bytes are missing, in the budget or in the device's free memory (the larger); at most 0 if none."""
        counted = sum(slot.memory_bytes for slot in self._slots.values())
        on_the_way = sum(slot.memory_bytes for slot in self._slots.values() if slot.state == State.LOADING)
        over_budget = counted + needed_bytes - self._limits.budget_bytes
        return max(over_budget, needed_bytes + on_the_way - self._loader.free_bytes())

    def _refuse_hopeless_locked(self, missing: int, needed_bytes: int) -> None:
        """Raise LoadFailed when closing every other model would not be enough."""
        others = sum(slot.memory_bytes for slot in self._slots.values())
        if missing > others:
            raise LoadFailed(
                f"It needs {for_people(needed_bytes)} of memory for its weights and cache; "
                f"{for_people(max(0, needed_bytes + others - missing))} can be had on this machine."
            )

    def _choose_victims_locked(self, missing: int) -> list[_Slot]:
        """The models to close for `missing` bytes: idle ones first, least recently used first. Empty if not enough."""
        victims: list[_Slot] = []
        here = [slot for slot in self._slots.values() if slot.state in (State.READY, State.LEAVING)]
        for slot in sorted(here, key=lambda slot: (slot.is_in_use, slot.last_used)):
            if missing <= 0:
                break
            victims.append(slot)
            missing -= slot.memory_bytes
        return victims if missing <= 0 else []

    def _close(self, slot: _Slot) -> None:
        """Close the engine of a slot that is CLOSING, and only then count its memory as free."""
        engine, slot.engine = slot.engine, None
        try:
            if engine is not None:
                engine.close()
        except Exception:
            logger.exception("closing %s failed", slot.model.key)
        del engine
        self._loader.reclaim()
        with self._changed:
            if self._slots.get(slot.model.key) is slot:
                del self._slots[slot.model.key]
            self._changed.notify_all()


def _reason_of(error: Exception, key: str) -> str:
    """The reason for customers and operators. An unexpected error is logged in full."""
    if isinstance(error, LoadFailed):
        logger.warning("%s does not load: %s", key, error, exc_info=error.__cause__)
        return str(error)
    logger.error("%s does not load", key, exc_info=error)
    return "It could not be loaded; the log of the worker says why."
