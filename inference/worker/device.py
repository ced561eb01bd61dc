"""What memory the device has that models run on: the GPUs where there are some, else the machine's own."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from core.gpus import NoGpu, find_gpus

CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """Bytes of all GPUs that this process may use together, or of the machine."""

    kind: Literal["cuda", "cpu"]
    total_bytes: int
    free_bytes: int


def read_device_memory() -> DeviceMemory:
    """The memory models may use now. torch is imported only where there is a GPU: it honours CUDA_VISIBLE_DEVICES."""
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
    """The machine's memory, or the container's where that is less."""
    memory = psutil.virtual_memory()
    try:
        limit = int((CGROUP / "memory.max").read_text())  # "max" where there is none
        used = int((CGROUP / "memory.current").read_text())
        statistics = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return DeviceMemory("cpu", memory.total, memory.available)
    free = limit - used + int(statistics.get("inactive_file", 0))  # the kernel gives that back when asked
    return DeviceMemory("cpu", min(memory.total, limit), max(0, min(memory.available, free)))
