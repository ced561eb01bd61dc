"""Every defect in the list of guards is noticed by a test that fails without its guard."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests.guards import GUARDS, Guard

ROOT = Path(__file__).resolve().parents[1]
NOT_COPIED = shutil.ignore_patterns(".git", ".venv", ".local", "__pycache__", ".*_cache")
TESTS_FAILED = 1  # pytest's exit status; others say that nothing ran


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project, to be broken."""
    folder = tmp_path_factory.mktemp("guards") / "tally"
    shutil.copytree(ROOT, folder, ignore=NOT_COPIED)
    return folder


@pytest.fixture
def broken(copy: Path, guard: Guard) -> Iterator[Path]:
    """The copy without this guard."""
    file = copy / guard.file
    sound = file.read_text()
    file.write_text(sound.replace(guard.text, guard.without))
    yield copy
    file.write_text(sound)


def run_tests(folder: Path, guard: Guard) -> subprocess.CompletedProcess[str]:
    """Run the guard's tests in a database of their own: all in one, or in a new one where the guard is a wall of it.

    Each process of pytest-xdist has its two.
    """
    is_a_wall = any(part in guard.file for part in ("/migrations/", "/walls/", "/privileges.py"))
    name, option = ("_walls", "--create-db") if is_a_wall else ("_guards", "--reuse-db")
    name += os.environ.get("PYTEST_XDIST_WORKER", "")
    address = urlsplit(os.environ["DATABASE_URL"])
    variables = os.environ | {"DATABASE_URL": urlunsplit(address._replace(path=f"{address.path}{name}"))}
    variables.pop("PYTEST_CURRENT_TEST", None)
    command = [sys.executable, "-m", "pytest", "-q", "-x", option, "-p", "no:cacheprovider"]
    command += [*guard.tests.split(), "-k", guard.select]
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.parametrize("guard", GUARDS, ids=str)
def test_a_guard_stands_where_the_list_says(guard):
    assert (ROOT / guard.file).read_text().count(guard.text) == 1


@pytest.mark.thorough
@pytest.mark.timeout(400)
@pytest.mark.parametrize("guard", GUARDS, ids=str)
def test_without_its_guard_a_defect_is_noticed(broken, guard):
    run = run_tests(broken, guard)
    assert run.returncode == TESTS_FAILED, f"exit status {run.returncode}\n{run.stdout[-3000:]}{run.stderr[-2000:]}"
