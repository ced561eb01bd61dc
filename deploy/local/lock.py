"""`startup.py lock`: writes requirements/locked/ anew from the pins in requirements/.

uv finds a version of every package that the pins need, on every platform and Python that Tally supports, and the hash
of each of its files. The libraries of CUDA are a lock of their own: PyTorch's builds for CPUs do without them.
"""

import re

from deploy.local import environment
from deploy.local.environment import CUDA_SET, LOCKED, REQUIREMENTS, base_environment
from deploy.local.steps import Command

SETS = ("dev.txt", "worker.txt", "base.txt")  # the largest first: the others get its versions
HEADER = (
    "# Written by `python3 startup.py lock` from requirements/{name}. Do not edit: change the pins and write it anew.\n"
)
OLDEST_PYTHON = "3.11"
_OF_CUDA = re.compile(r"(?!nvidia-ml-py)(nvidia|cuda|triton)(-|==)")

# The builds for CPUs alone lie on PyTorch's own index, which uv is not told of: torch 2.13.0+cpu for Linux on x86-64,
# CPython 3.11, as it was tried.
CPU_BUILDS = {"torch": ("6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b",)}


def write_locks() -> int:
    """Write every lock; returns the exit status. Raises StartupError when the package index cannot be asked."""
    environment.ensure("dev.txt")
    LOCKED.mkdir(exist_ok=True)
    for name in SETS:
        _compile(name)
    entries = _entries("worker.txt")
    _write(CUDA_SET, "worker.txt", [entry for entry in entries if _OF_CUDA.match(entry)])
    for name in SETS:
        kept = [entry for entry in _entries(name) if not _OF_CUDA.match(entry)]
        _write(name, name, [_with_cpu_builds(entry) for entry in kept])
    return 0


def _compile(name: str) -> None:
    command = [str(environment.VENV / "bin" / "uv"), "pip", "compile", "--universal", "--generate-hashes"]
    command += ["--python-version", OLDEST_PYTHON, "--no-header", "--no-annotate", "--no-config", "--upgrade"]
    if name != SETS[0]:
        command += ["--constraints", str(LOCKED / SETS[0])]
    command += [str(REQUIREMENTS / name), "--output-file", str(LOCKED / name)]
    Command(f"Resolving requirements/{name}", command, environment=base_environment()).run()


def _entries(name: str) -> list[str]:
    """A lock's packages, each with the lines of its hashes."""
    return re.findall(r"^[a-z0-9].*(?:\n +.*)*\n", (LOCKED / name).read_text(), re.MULTILINE)


def _with_cpu_builds(entry: str) -> str:
    hashes = CPU_BUILDS.get(entry.partition("==")[0], ())
    return entry.rstrip("\n") + "".join(f" \\\n    --hash=sha256:{value}" for value in hashes) + "\n"


def _write(name: str, source: str, entries: list[str]) -> None:
    (LOCKED / name).write_text(HEADER.format(name=source) + "".join(entries))
