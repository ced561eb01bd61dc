"""`startup.py lock`: writes requirements/locked/ anew from the pins in requirements/.

uv finds a version of every package that the pins need, on every platform and Python that Tally supports, and the hash
of each of its files. PyTorch is a lock of its own, in two: with the libraries of CUDA, and built for CPUs without them.
"""

import re

from deploy.local import environment
from deploy.local.environment import LOCKED, REQUIREMENTS, TORCH_CPU_SET, TORCH_SET, base_environment
from deploy.local.steps import Command

SETS = ("dev.txt", "worker.txt", "base.txt")  # the largest first: the others get its versions
HEADER = "# Written by `python3 startup.py lock`, from requirements/{name}. Change the pins, not this file.\n"
OLDEST_PYTHON = "3.11"
_OF_TORCH = re.compile(r"(?!nvidia-ml-py)(torch|nvidia|cuda|triton)(-|==)")

# PyTorch's builds for CPUs lie on its own index, which uv is not told of. This is the one for Linux on x86-64 and
# CPython 3.11, as it was tried.
TORCH_FOR_CPUS = (
    "torch=={version}+cpu \\\n    --hash=sha256:6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b\n"
)


def write_locks() -> int:
    """Write every lock; returns the exit status. Raises StartupError when the package index cannot be asked."""
    environment.ensure("dev.txt")
    LOCKED.mkdir(exist_ok=True)
    for name in SETS:
        _compile(name)
    of_torch = [entry for entry in _entries("worker.txt") if _OF_TORCH.match(entry)]
    version = next(entry for entry in of_torch if entry.startswith("torch==")).split()[0].partition("==")[2]
    _write(TORCH_SET, "worker.txt", of_torch)
    _write(TORCH_CPU_SET, "worker.txt", [TORCH_FOR_CPUS.format(version=version)])
    for name in SETS:
        _write(name, name, [entry for entry in _entries(name) if not _OF_TORCH.match(entry)])
    return 0


def _compile(name: str) -> None:
    command = [str(environment.VENV / "bin" / "uv"), "pip", "compile", "--quiet", "--universal", "--generate-hashes"]
    command += ["--python-version", OLDEST_PYTHON, "--no-header", "--no-annotate", "--no-config", "--upgrade"]
    if name != SETS[0]:
        command += ["--constraints", str(LOCKED / SETS[0])]
    command += [str(REQUIREMENTS / name), "--output-file", str(LOCKED / name)]
    Command(f"Resolving requirements/{name}", command, environment=base_environment()).run()


def _entries(name: str) -> list[str]:
    """A lock's packages, each with the lines of its hashes."""
    return re.findall(r"^[a-z0-9].*(?:\n +.*)*\n", (LOCKED / name).read_text(), re.MULTILINE)


def _write(name: str, source: str, entries: list[str]) -> None:
    (LOCKED / name).write_text(HEADER.format(name=source) + "".join(entries))
