"""The NVIDIA GPUs of this machine, as the driver reports them (NVML). This needs no torch."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pynvml


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU and its memory."""

    name: str
    total_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class GpuLoad:
    """How busy a GPU is: bytes, percent, degrees Celsius."""

    name: str
    utilisation_percent: int
    memory_total_bytes: int
    memory_used_bytes: int
    temperature_celsius: int


class NoGpu(Exception):
    """There is no GPU, or the driver does not report a figure; the text is the driver's reason."""


def find_gpus() -> list[Gpu]:
    """The GPUs of this machine. Raises NoGpu."""
    with _driver() as handles:
        memories = [(handle, pynvml.nvmlDeviceGetMemoryInfo(handle)) for handle in handles]
        return [Gpu(_name_of(handle), int(memory.total), int(memory.free)) for handle, memory in memories]


def read_gpu_loads() -> list[GpuLoad]:
    """The load of each GPU. Raises NoGpu, also for a part of a GPU (MIG), whose load the driver does not report."""
    with _driver() as handles:
        return [_load_of(handle) for handle in handles]


@contextmanager
def _driver() -> Iterator[list[Any]]:
    """The driver's handles of all GPUs. Raises NoGpu for every error of the driver."""
    try:
        pynvml.nvmlInit()
        try:
            yield [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        raise NoGpu(str(error)) from error


def _load_of(handle: Any) -> GpuLoad:
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    return GpuLoad(
        name=_name_of(handle),
        utilisation_percent=int(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu),
        memory_total_bytes=int(memory.total),
        memory_used_bytes=int(memory.used),
        temperature_celsius=int(pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU)),
    )


def _name_of(handle: Any) -> str:
    name = pynvml.nvmlDeviceGetName(handle)
    return name.decode() if isinstance(name, bytes) else str(name)
