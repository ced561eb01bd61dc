"""The virtual environment beside startup.py, installed from the locks in requirements/locked/ and from nothing else.

A lock names every package with its version and the hashes of its files, so pip resolves nothing. A stamp in .venv
holds a hash of each lock that was installed in full; where it fits, nothing is done. It is removed before pip starts,
so the next start repairs an interrupted installation.
"""

import csv
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from deploy.local import interrupts
from deploy.local.console import Step, say
from deploy.local.errors import StartupError, StepFailedError
from deploy.local.runtime import ROOT, Lock, read_object
from deploy.local.steps import Command

REQUIREMENTS = ROOT / "requirements"
LOCKED = REQUIREMENTS / "locked"
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "tally-stamp.json"
LARGE_MB = 20  # downloads below it are not worth a line
_MISLEADING = ("PYTHONHOME", "PYTHONPATH", "PYTHONSAFEPATH")
SUPPORTED = ((3, 11), (3, 12), (3, 13))  # as in startup.py and pyproject.toml
LOCAL_SETS = ("demo_models.txt", "local.txt")  # they have their hashes beside the pins
TORCH_SET = "torch.txt"  # PyTorch as the package index has it, with the libraries of CUDA that it loads on Linux
TORCH_CPU_SET = "torch-cpu.txt"  # its build for CPUs alone, without them; not every index has it
_CONTAINED = {"dev.txt": "worker.txt"}  # installing the first brings all of the second

_ADVICE = (
    ("No space left on device", "The disk is full. Free some space, then start again."),
    (
        "do not match the hashes",
        "A download is not the file that was pinned. Do not use it; tell the maintainers.",
    ),
    (
        "No matching distribution",
        "No package fits this computer: Linux (glibc 2.28 or newer) or macOS, on x86-64 or ARM, is needed.",
    ),
    ("externally-managed", "The environment in .venv is not one of ours. Remove .venv, then start again."),
    ("Permission denied", "Files in .venv belong to another user. Remove .venv, then start again."),
    (
        "Temporary failure in name resolution",
        "The package index cannot be reached. Check the network or proxy.",
    ),
    ("Could not fetch", "The package index cannot be reached. Check the network or proxy."),
    ("timed out", "The package index answers too slowly. Start again: what was loaded is kept."),
)


def base_environment() -> dict[str, str]:
    """The user's environment for programs of .venv; what would point Python elsewhere is left out."""
    kept = {key: value for key, value in os.environ.items() if key not in _MISLEADING}
    path = f"{PYTHON.parent}{os.pathsep}{kept.get('PATH', os.defpath)}"
    return kept | {"VIRTUAL_ENV": str(VENV), "PATH": path, "PYTHONUNBUFFERED": "1"}


def ensure(name: str) -> None:
    """Have the lock of requirements/<name> and the local sets installed in .venv. Raises StartupError with advice."""
    if _is_complete(name):
        return
    lock = Lock(ROOT / ".venv.lock")
    try:
        if not lock.acquire(patience_seconds=0):
            _wait_for(lock)
        if not _is_complete(name):  # another start may just have done it
            _install(name, lock)
    finally:
        lock.release()


def fingerprint(name: str) -> str:
    """A hash of a set's lock, and of those of PyTorch."""
    locks = b"".join(_lock_of(each).read_bytes() for each in (name, TORCH_SET, TORCH_CPU_SET))
    return hashlib.sha256(locks).hexdigest()


def _lock_of(name: str) -> Path:
    return REQUIREMENTS / name if name in LOCAL_SETS else LOCKED / name


def _is_complete(name: str) -> bool:
    stamp = read_object(STAMP)
    return all(stamp.get(each) == fingerprint(each) for each in (name, *LOCAL_SETS)) and _works()


def _works() -> bool:
    """Whether .venv has a Python of a supported version, and pip."""
    script = "import sys, importlib.util as u; print(*sys.version_info[:2], u.find_spec('pip') is not None)"
    try:
        result = subprocess.run([PYTHON, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return result.stdout.split() in [[str(major), str(minor), "True"] for major, minor in SUPPORTED]


def _wait_for(lock: Lock) -> None:
    with Step(f"Waiting for another start (pid {lock.holder()}) that installs into .venv") as step:
        step.note("this one goes on by itself afterwards")
        while not lock.acquire(patience_seconds=0):
            interrupts.pause(0.2)
            step.tick()


def _install(name: str, lock: Lock) -> None:
    if not _works():
        _create(lock)
    stamp = read_object(STAMP)
    STAMP.unlink(missing_ok=True)
    if not stamp and (broken := _remove_broken()):
        say(f"  Repairing after an interrupted installation: {', '.join(broken)}")
    for each in (name, *LOCAL_SETS):
        if stamp.get(each) != fingerprint(each):
            _pip(each, lock)
            if each == name:
                _pip(TORCH_CPU_SET if _can_take_torch_for_cpus() else TORCH_SET, lock)
            stamp[each] = fingerprint(each)
            if inner := _CONTAINED.get(each):
                stamp[inner] = fingerprint(inner)
    STAMP.write_text(json.dumps(stamp))


def _can_take_torch_for_cpus() -> bool:
    """Whether this machine has no NVIDIA GPU, and pip finds PyTorch's build for CPUs (in PIP_FIND_LINKS, say)."""
    if _has_gpu():
        return False
    command = [str(PYTHON), "-m", "pip", "install", "--dry-run", "--quiet", "--require-hashes", "--no-deps"]
    command += ["-r", str(_lock_of(TORCH_CPU_SET))]
    return subprocess.run(command, env=base_environment(), capture_output=True, check=False).returncode == 0


def _has_gpu() -> bool:
    return Path("/proc/driver/nvidia").exists() or shutil.which("nvidia-smi") is not None


def _create(lock: Lock) -> None:
    """Make .venv, from nothing or over one that does not work."""
    arguments = [sys.executable, "-m", "venv", "--clear", str(VENV)]
    with_pip = importlib.util.find_spec("ensurepip") is not None
    if not with_pip and importlib.util.find_spec("pip") is None:
        raise StartupError(
            f"This Python ({sys.executable}) has neither `ensurepip` nor `pip`, so it cannot make .venv.\n"
            "On Debian and Ubuntu: apt install python3-venv. Elsewhere: install a complete Python."
        )
    if not with_pip:
        arguments.insert(3, "--without-pip")
    environment = base_environment()
    title = "Making the virtual environment .venv"
    Command(title, arguments, environment=environment, keep_open=(lock.descriptor(),)).run()
    if not with_pip:
        copy = [sys.executable, "-m", "pip", "--python", str(PYTHON), "install", "pip"]
        Command("Installing pip into .venv", copy, environment=environment, keep_open=(lock.descriptor(),)).run()


def _remove_broken() -> list[str]:
    """Forget packages whose files are not all there: pip would take them for installed.

    Their metadata goes; pip then installs them anew, over the rest. Returns their names.
    """
    broken = []
    for metadata in VENV.glob("lib/python3.*/site-packages/*.dist-info"):
        if not _is_whole(metadata):
            broken.append(metadata.name.removesuffix(".dist-info"))
            shutil.rmtree(metadata)
    return broken


def _is_whole(metadata: Path) -> bool:
    """Whether every file in a package's RECORD exists with its size."""
    try:
        with (metadata / "RECORD").open(newline="") as file:
            rows = [row for row in csv.reader(file) if len(row) == 3]
        return all((metadata.parent / path).stat().st_size == int(size or 0) for path, _hash, size in rows if size)
    except (OSError, ValueError):
        return False


def _pip(name: str, lock: Lock) -> None:
    file = _lock_of(name)
    arguments = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    arguments += ["--progress-bar", "off", "--require-hashes", "--no-deps", "-r", str(file)]
    command = Command(
        f"Installing {file.relative_to(REQUIREMENTS.parent)}",
        arguments,
        environment=base_environment() | {"PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0"},
        note=_pip_note,
        keep_open=(lock.descriptor(),),  # should we be killed, pip keeps the lock until it is done
    )
    try:
        command.run()
    except StepFailedError as error:
        said = "\n".join(command.lines)
        advice = next((text for sign, text in _ADVICE if sign in said), "Start again: what was loaded is kept.")
        raise StepFailedError(f"{error}\n{advice}") from None


def _pip_note(line: str) -> str:
    """What is worth showing of a line of pip's: what it collects, loads and installs."""
    first, _, rest = line.strip().partition(" ")
    size = re.search(r"\((\d+)[.\d]* [MG]B\)", rest)
    if first in ("Collecting", "Building") or (first == "Downloading" and size and int(size[1]) >= LARGE_MB):
        return f"{first.lower()} {rest.partition(' (from')[0]}"
    if line.startswith("Installing collected packages:"):
        return f"installing {line.count(',') + 1} packages"
    return ""
