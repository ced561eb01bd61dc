"""The engines of one worker process: loaded when first asked for, within a memory budget, unloaded when idle.

Plain Python. It knows engines by their contract (`engine.base`) and models through a `Loader`. A model is loaded by a
thread of its own, so whoever waits for it can leave at once; a request holds a lease while it uses the engine, and an
engine with a lease is never closed to make room.

All of it is lost with the process, and nothing else depends on it: rows and money live in the database.
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


MOST_BACK_OFF = 32  # times the first pause between two tries of a model that does not load


@dataclass(slots=True, eq=False)
class _Slot:
    model: ModelSource
    state: State = State.WAITING
    memory_bytes: int = 0  # counted from before the loading until after the unloading
    engine: Engine | None = None
    running: int = 0
    waiting: int = 0
    last_used: float = field(default_factory=time.monotonic)
    error: Exception | None = None

    @property
    def is_in_use(self) -> bool:
        """Running, or about to: those who waited for the loading may not have woken up yet."""
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
        """The model's engine, loaded first if need be. Raises LoadFailed, NoRoom, ManagerClosed, LeftWhileWaiting.

        Twenty threads that ask at once cause one loading. Set `left` and call `wake` to leave while waiting.
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
        """Whether a lease would be given without waiting."""
        with self._changed:
            slot = self._slots.get(key)
            return slot is not None and slot.state == State.READY and slot.engine is not None and slot.engine.is_alive()

    def is_due(self, key: str) -> bool:
        """Whether a model that is not here may be tried now: it never failed, or its pause is over."""
        with self._changed:
            failure = self._failures.get(key)
            return key not in self._slots and (failure is None or time.monotonic() >= failure.retry_at)

    def wake(self) -> None:
        """Let everybody who waits look at whether they still want to."""
        with self._changed:
            self._changed.notify_all()

    def unload_idle(self) -> None:
        """Unload what nobody has used for `idle_seconds`. Call it now and then."""
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
        """Close every engine and load nothing more. What still runs ends with EngineError."""
        with self._changed:
            self._is_closed = True
            open_slots = [slot for slot in self._slots.values() if slot.engine and slot.state != State.CLOSING]
            for slot in open_slots:
                slot.state = State.CLOSING
            self._changed.notify_all()
        for slot in open_slots:
            self._close(slot)

    def loaded_models(self) -> list[LoadedModel]:
        """What is here now."""
        with self._changed:
            now, wall = time.monotonic(), time.time()
            return [
                LoadedModel(
                    key, slot.state, slot.memory_bytes, slot.running, slot.waiting, wall - (now - slot.last_used)
                )
                for key, slot in self._slots.items()
            ]

    def failures(self) -> dict[str, str]:
        """Why the models that failed did."""
        with self._changed:
            return {key: failure.reason for key, failure in self._failures.items()}

    # Asking for an engine. Everything below that begins with an underscore and says "locked" holds the lock.

    def _enter(self, model: ModelSource, left: threading.Event) -> tuple[_Slot, Engine]:
        with self._changed:
            while True:
                if left.is_set():
                    self._changed.notify_all()  # the loading may wait for room on behalf of nobody now
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
                    slot.state = State.CLOSING  # it died: bury it, then load it anew
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
            self._end_waiting(slot, None)  # whoever came at the last moment begins anew
        except Exception as error:  # noqa: BLE001  whatever it is, those who wait must hear of it
            reason = _reason_of(error, slot.model.key)
        else:
            logger.info("loaded %s in %.1f s", slot.model.key, time.monotonic() - started)
            self._open(slot, engine)
        if reason is not None:  # not earlier: the error holds on to what was loaded
            self._fail(slot, reason)

    def _open(self, slot: _Slot, engine: Engine) -> None:
        """Let those who wait in. Loaded too late for a worker that closes, it is closed at once."""
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
        if slot.state == State.LOADING:  # not for missing files: it stops all threads for a quarter of a second
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
        """Return once `needed_bytes` are reserved for `slot`; close idle models for it, the longest unused first.

        Models in use keep their place for `turn_seconds`; then they take no new requests until there is room. Raises
        LoadFailed (never enough), NoRoom (too long in use), LeftWhileWaiting (nobody waits), ManagerClosed.
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
        """Wait until there is room (then reserve it and return nothing) or what has to go is idle (return that)."""
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
        """How many bytes are missing of the budget, or of what the device really has free; 0 or less if none."""
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
        """The models to close for `missing` bytes: idle ones first, the longest unused first. None if not enough."""
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
    """What people are told; what nobody foresaw goes to the log whole."""
    if isinstance(error, LoadFailed):
        logger.warning("%s does not load: %s", key, error, exc_info=error.__cause__)
        return str(error)
    logger.error("%s does not load", key, exc_info=error)
    return "It could not be loaded; the log of the worker says why."
