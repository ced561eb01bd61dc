"""What can be said of the images without an engine: the linter's word, and what may get into them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

ROOT = settings.BASE_DIR
DOCKERFILES = [ROOT / "Dockerfile", *sorted((ROOT / "tests" / "docker" / "images").glob("*/Dockerfile"))]


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.parent.name)
def test_hadolint_finds_nothing(file):
    linter = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([linter, "--no-color", file], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_everything_is_installed_by_hash():
    text = (ROOT / "Dockerfile").read_text()
    installed = set(re.findall(r"-r (\S+\.txt)", text))
    assert len(installed) == 5
    assert all((ROOT / file.lstrip("/")).is_file() for file in installed)
    assert text.count("pip --python") == 1
    assert "--require-hashes" in text
    assert "--no-deps" in text


def test_nothing_gets_into_an_image_that_is_not_named():
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert lines[0] == "*"
    let_in = [line.removeprefix("!") for line in lines if line.startswith("!")]
    assert [name for name in let_in if not (ROOT / name).exists()] == []
    assert {"tests", "docs", "secrets", ".git", ".env", "deploy"} & set(let_in) == set()
    assert [line for line in lines[1 + len(let_in) :] if not line.startswith("**/")] == []  # then left out again


def test_no_frontend_is_loaded_from_a_registry():
    assert [file for file in DOCKERFILES if "syntax=" in file.read_text()] == []
