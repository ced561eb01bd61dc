"""Reads the memory of the device that models run on: of the GPUs if there are any, else of the machine."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from core.gpus import NoGpu, find_gpus

CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """Memory in bytes: the sum of all GPUs that this process may use, or that of the machine."""

    kind: Literal["cuda", "cpu"]
    total_bytes: int
    free_bytes: int


def read_device_memory() -> DeviceMemory:
    """Read the memory of the device now. torch, which honours CUDA_VISIBLE_DEVICES, is imported only with a GPU."""
    try:
        gpus = find_gpus()
    except NoGpu:
        gpus = []
    if gpus:
        import torch

        if torch.cuda.is_available():
            pairs = [torch.cuda.mem_get_info(index) for index in range(torch.cuda.device_count())]
            return DeviceMemory("cuda", sum(total for _free, total in pairs), sum(free for free, _total in pairs))
    return _read_machine()


def _read_machine() -> DeviceMemory:
    """The memory of the machine, or of the container (its cgroup) where that is less."""
    memory = psutil.virtual_memory()
    try:
        limit = int((CGROUP / "memory.max").read_text())  # "max" if there is no limit: a ValueError
        used = int((CGROUP / "memory.current").read_text())
        statistics = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return DeviceMemory("cpu", memory.total, memory.available)
    free = limit - used + int(statistics.get("inactive_file", 0))  # page cache that the kernel frees when needed
    return DeviceMemory("cpu", min(memory.total, limit), max(0, min(memory.available, free)))
