"""Loads models of the catalogue into this process for the model manager, and explains why one does not load."""

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
    """Import the class that INFERENCE_ENGINE names.

    One thread at a time: a thread that imports transformers while another one does may see a half-imported module and
    get an ImportError.
    """
    with _importing:
        return import_string(settings.INFERENCE_ENGINE)


class CatalogueLoader:
    """A `contracts.Loader` for models of the catalogue. Its engines are of the class INFERENCE_ENGINE."""

    def measure(self, model: ModelSource) -> int:
        """See `Loader.measure`. Reads only `config.json`."""
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
        """See `Loader.reclaim`. A model has reference cycles; the C library and torch (on a GPU) keep freed memory."""
        gc.unfreeze()  # the model may have been loaded at the start of the process, and then frozen (core.garbage)
        gc.collect()
        _trim_heap()
        if self.device.kind == "cuda":
            sys.modules["torch"].cuda.empty_cache()

    @cached_property
    def device(self) -> DeviceMemory:
        """The device that models run on, with its memory as it was at the first access."""
        return read_device_memory()

    @property
    def precision(self) -> Precision:
        """The precision in which the engine computes on this device."""
        import_engine()
        with _importing:
            from inference.engine.precision import choose_precision  # imports torch, which only a worker has

        return choose_precision(settings.INFERENCE_PRECISION, self.device.kind)

    def limits(self) -> Limits:
        """The manager's limits, from the settings and the device's memory."""
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
    """Return freed heap memory to the system.

    glibc keeps freed memory that lies below its newest allocation, for example that of a model in 8 bits, whose
    matrices come from the heap. Only glibc has `malloc_trim`, which looks at every arena (man 3 malloc_trim).
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def explain(error: Exception) -> str:
    """The reason why loading failed, as a text for customers and operators.

    Without CPU memory torch raises a plain RuntimeError (from DefaultCPUAllocator), so its text is searched.
    """
    text = str(error)
    if isinstance(error, EngineError | CheckpointError):
        return text
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "allocate memory" in text:
        return OUT_OF_MEMORY
    return BROKEN.format(what=type(error).__name__)
