"""Both images come from a clean clone, are small, and contain neither a secret nor anything of git."""

import json
import subprocess

import pytest

from tests.docker.engine import docker

pytestmark = [pytest.mark.docker, pytest.mark.timeout(3600)]
MOST_BYTES = {"web": 400_000_000, "worker": 2_500_000_000}
NOT_IN_AN_IMAGE = ("tests", "docs", "startup.py", "secrets", ".env", "wheels", "requirements", "Dockerfile")


def inside(image, *words, user="10001"):
    """Run a program of the image instead of its role."""
    closed = ["--rm", "--read-only", "--network", "none", "--user", user]
    return docker("run", *closed, "--entrypoint", words[0], image, *words[1:])


@pytest.mark.parametrize("name", MOST_BYTES)
def test_it_is_small(images, name):
    size = int(docker("image", "inspect", "--format", "{{.Size}}", images[name]))
    print(f"{name}: {size / 1e6:.0f} MB")
    assert size < MOST_BYTES[name]


@pytest.mark.parametrize("name", MOST_BYTES)
def test_no_layer_and_no_history_has_a_secret(clone, images, name):
    """The clone had its secrets, a `.env` and `.git` when the images were built."""
    values = {file.read_text().strip() for file in (clone.folder / "secrets").rglob("*") if file.is_file()}
    patterns = clone.folder.parent / "patterns"
    lines = {line for value in values for line in value.splitlines() if len(line) > 20 and "-----" not in line}
    patterns.write_text("".join(f"{line}\n" for line in lines))
    assert len(patterns.read_text().splitlines()) > 15
    with subprocess.Popen(["docker", "save", images[name]], stdout=subprocess.PIPE) as saved:
        found = subprocess.run(
            ["grep", "-c", "-a", "-F", "-f", patterns], stdin=saved.stdout, capture_output=True, text=True, check=False
        )
    assert (saved.returncode, found.stdout.strip()) == (0, "0")
    history = docker("history", "--no-trunc", images[name])
    assert [line for line in patterns.read_text().splitlines() if line in history] == []


@pytest.mark.parametrize("name", MOST_BYTES)
def test_it_has_what_is_needed_alone(images, name):
    assert inside(images[name], "find", "/", "-xdev", "-name", ".git*", "-not", "-path", "/venv/*", user="0") == ""
    there = inside(images[name], "ls", "-A", "/tally").split()
    assert {"manage.py", "config", "billing", "templates"} <= set(there)
    assert [each for each in NOT_IN_AN_IMAGE if each in there] == []


@pytest.mark.parametrize("name", MOST_BYTES)
def test_its_user_is_nobody_special_and_owns_no_code(images, name):
    assert docker("run", "--rm", "--entrypoint", "id", images[name], "-u") == "10001"
    assert inside(images[name], "find", "/tally", "/venv", "-user", "10001") == ""
    assert inside(images[name], "find", "/tally", "/venv", "-perm", "/022", "-not", "-type", "l") == ""


def test_web_has_no_torch(images):
    look = "import importlib.util as u; print(*(u.find_spec(name) is not None for name in ('torch', 'django')))"
    assert inside(images["web"], "python", "-c", look) == "False True"
    assert inside(images["worker"], "python", "-c", look) == "True True"


def test_static_files_are_hashed_and_compressed(images):
    names = inside(images["web"], "sh", "-c", "cd .local/static && cat staticfiles.json && ls -R")
    manifest = json.loads(names[: names.index("}}") + 2] if "}}" in names else names[: names.rindex("}") + 1])
    hashed = next(value for key, value in manifest["paths"].items() if key.endswith("tally.css"))
    assert f"{hashed.rpartition('/')[2]}.gz" in names


def test_an_unknown_role_is_explained(images):
    said = docker("run", "--rm", images["web"], "webb", check=False)
    assert "There is no role 'webb'" in said
    assert "worker-default" in said


def test_production_refuses_to_start_without_settings(images):
    said = docker("run", "--rm", images["web"], "manage", "check", check=False)
    assert "SECRET_KEY is missing" in said
    assert "DATABASE_URL is missing" in said
