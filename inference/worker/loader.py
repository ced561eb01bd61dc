"""Loads the catalogue's models into this process for the manager, and says in plain words why one does not load."""

import ctypes
import gc
import sys
import threading
from functools import cached_property
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string

from inference.catalogue import ModelUnavailable, find_weights
from inference.engine.base import Engine, EngineError
from inference.engine.checkpoint import CheckpointError
from inference.weights.memory import Precision, read_architecture
from inference.worker.contracts import Limits, LoadFailed, ModelSource
from inference.worker.device import DeviceMemory, read_device_memory

OUT_OF_MEMORY = "The machine ran out of memory while loading it."
BROKEN = "Its files cannot be read ({what}). Delete its folder and run manage.py prepare_models."


_importing = threading.Lock()


def import_engine() -> Any:
    """The class that INFERENCE_ENGINE names. One thread at a time: who imports transformers while another does may get
    half of it, an ImportError."""
    with _importing:
        return import_string(settings.INFERENCE_ENGINE)


class CatalogueLoader:
    """See `manager.Loader`. Engines are those of INFERENCE_ENGINE."""

    def measure(self, model: ModelSource) -> int:
        """See `Loader.measure`: from `config.json` alone."""
        folder = self._folder_of(model)
        try:
            architecture = read_architecture(folder)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LoadFailed(BROKEN.format(what="config.json")) from error
        return architecture.total_bytes(
            self.precision, settings.INFERENCE_CACHE_TOKENS, on_cpu=self.device.kind == "cpu"
        )

    def load(self, model: ModelSource) -> Engine:
        folder = self._folder_of(model)
        engine_class = import_engine()
        try:
            engine: Engine = engine_class(
                folder,
                settings.INFERENCE_THREADS,
                settings.INFERENCE_PRECISION,
                cache_tokens=settings.INFERENCE_CACHE_TOKENS,
            )
        except Exception as error:
            raise LoadFailed(explain(error)) from error
        return engine

    def free_bytes(self) -> int:
        return read_device_memory().free_bytes

    def reclaim(self) -> None:
        """See `Loader.reclaim`. A model is full of cycles, the C library keeps what is freed, torch a GPU's memory."""
        gc.unfreeze()  # it may have been loaded when the process began, and frozen with the rest (core.garbage)
        gc.collect()
        _trim_heap()
        if self.device.kind == "cuda":
            sys.modules["torch"].cuda.empty_cache()

    @cached_property
    def device(self) -> DeviceMemory:
        """What models run on, as it was when first asked."""
        return read_device_memory()

    @property
    def precision(self) -> Precision:
        """What the engine computes in on this device."""
        import_engine()
        with _importing:
            from inference.engine.precision import choose_precision  # imports torch, which only a worker has

        return choose_precision(settings.INFERENCE_PRECISION, self.device.kind)

    def limits(self) -> Limits:
        """The budget of this process and the other settings of its models."""
        budget = settings.MODEL_MEMORY_BYTES or int(self.device.total_bytes * settings.MODEL_MEMORY_SHARE)
        return Limits(
            budget_bytes=budget,
            idle_seconds=settings.MODEL_IDLE_SECONDS,
            wait_seconds=settings.MODEL_WAIT_SECONDS,
            turn_seconds=settings.MODEL_TURN_SECONDS,
            retry_seconds=settings.MODEL_RETRY_SECONDS,
            pinned=frozenset(settings.PRELOAD_MODELS),
        )

    def _folder_of(self, model: ModelSource) -> Path:
        try:
            return find_weights(key=model.key, source=model.source)
        except ModelUnavailable as error:
            raise LoadFailed(str(error)) from None


def _trim_heap() -> None:
    """Return freed memory to the system. glibc keeps it below its newest allocation: a model in 8 bits, say, whose
    matrices it took from the heap; it alone has `malloc_trim` (man 3 malloc_trim), which looks at every arena."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def explain(error: Exception) -> str:
    """Why loading ended with this error, for people.

    torch has no class of its own for the memory of a processor: DefaultCPUAllocator raises a RuntimeError.
    """
    text = str(error)
    if isinstance(error, EngineError | CheckpointError):
        return text
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "allocate memory" in text:
        return OUT_OF_MEMORY
    return BROKEN.format(what=type(error).__name__)
