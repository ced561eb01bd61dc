"""The Docker engine that the tests use: the one of DOCKER_HOST, or of this machine."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

LONGEST_SECONDS = 1800  # the first build, on a busy machine


def run(*words: str | Path, check: bool = True, **options: Any) -> str:
    """Run a command and return what it printed. It must end 0 where `check` is set."""
    settings: dict[str, Any] = {"capture_output": True, "text": True, "timeout": LONGEST_SECONDS} | options
    done = subprocess.run([str(word) for word in words], check=False, **settings)
    said = f"{done.stdout}{done.stderr}"
    assert done.returncode == 0 or not check, f"{' '.join(map(str, words))}: {said[-4000:]}"
    return said


def docker(*words: str | Path, **options: Any) -> str:
    """`docker ...`; returns what it printed, without the last line break."""
    return run("docker", *words, **options).rstrip("\n")


def why_not_here() -> str:
    """Why these tests cannot run; an empty text where they can."""
    if shutil.which("docker") is None:
        return "there is no `docker` on this machine"
    done = subprocess.run(["docker", "version"], capture_output=True, text=True, check=False)
    if done.returncode:
        return f"no Docker engine answers: set DOCKER_HOST, or start one ({done.stderr.strip()[-200:]})"
    return "" if compose_command() else "there is neither `docker compose` nor `docker-compose`"


def compose_command() -> list[str]:
    """`docker compose` of today, or docker-compose 1.29; empty where neither is there."""
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    if plugin.returncode == 0:
        return ["docker", "compose"]
    return ["docker-compose"] if shutil.which("docker-compose") else []


def own_wheels() -> list[Path]:
    """PyTorch's builds for CPUs that pip finds in a folder of this machine. Without one, PyTorch's index is asked."""
    folder = Path(os.environ.get("PIP_FIND_LINKS") or "wheels")
    return sorted(folder.glob("torch-*+cpu-*.whl"))
