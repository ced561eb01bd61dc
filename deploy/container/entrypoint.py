"""The entrypoint of Tally's images: becomes the process that the container's command names.

    web                          the web server, on port 8000
    worker KEY...                a worker with these models
    worker-default, worker-mail, worker-proof
    beat, flower                 the periodic tasks; the monitor of the workers, on port 5555
    migrate                      migrates the database and copies the static files to STATIC_VOLUME, then ends
    manage COMMAND...            one command of manage.py

The process replaces this one (exec), so it gets the container's signals itself.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from deploy import roles
from deploy.container import health, static_files

ROOT = Path(__file__).resolve().parents[2]
_MANAGE = [sys.executable, "manage.py"]


def main(words: list[str]) -> None:
    """Run the role that the first word names; the others are its arguments. Raises SystemExit for an unknown one."""
    role, arguments = words[0] if words else "", words[1:]
    if role not in ROLES:
        raise SystemExit(f"There is no role {role!r}. There are: {', '.join(ROLES)}.\n{__doc__}")
    os.chdir(ROOT)
    _note(role)
    ROLES[role](arguments)


def _note(role: str) -> None:
    """Write down the role for the health check, and remove the signs of life of an earlier process."""
    os.environ["READY_DIR"] = str(health.directory())
    health.directory().mkdir(parents=True, exist_ok=True)
    for sign in health.signs():
        sign.unlink(missing_ok=True)
    health.role_file().write_text(role)


def _become(command: list[str]) -> None:
    sys.stdout.flush()
    os.execv(command[0], command)  # noqa: S606  words of ours, without a shell


def _module(words: list[str]) -> None:
    _become([sys.executable, "-m", *words])


def _web(_arguments: list[str]) -> None:
    os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", "/tmp/metrics")  # noqa: S108  of this container alone
    _module(roles.web(f"0.0.0.0:{health.WEB_PORT}", processes=os.environ.get("WEB_WORKERS") or "1"))


def _worker(keys: list[str]) -> None:
    if not keys:
        raise SystemExit("worker: name the models that it serves, such as `worker gemma-3-1b`.")
    queues = ",".join(f"generate.{key}" for key in keys)
    _module(roles.gpu_worker(queues, threads=os.environ.get("GPU_WORKER_THREADS") or "64"))


def _beat(_arguments: list[str]) -> None:
    _module(roles.beat(Path(os.environ.get("BEAT_DIR", "/tmp")) / "celerybeat-schedule"))  # noqa: S108


def _flower(_arguments: list[str]) -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings.flower"
    _module(roles.flower("0.0.0.0", health.FLOWER_PORT, configuration=ROOT / "flowerconfig.py"))  # noqa: S104


def _migrate(_arguments: list[str]) -> None:
    subprocess.run([*_MANAGE, "migrate", "--noinput"], check=True)
    if volume := os.environ.get("STATIC_VOLUME"):
        copied = static_files.copy(ROOT / ".local" / "static", Path(volume))
        print(f"Static files: {copied} new ones copied to {volume}.", flush=True)  # noqa: T201


def _manage(arguments: list[str]) -> None:
    if file := os.environ.get("HF_TOKEN_FILE"):  # it is no setting of Django, so nobody else reads the file
        os.environ["HF_TOKEN"] = Path(file).read_text().strip()
    _become([*_MANAGE, *arguments])


def _side_worker(name: str) -> Callable[[list[str]], None]:
    return lambda _arguments: _module(roles.side_worker(name))


ROLES: dict[str, Callable[[list[str]], None]] = {
    "web": _web,
    "worker": _worker,
    **{f"worker-{name}": _side_worker(name) for name in roles.SIDE_WORKERS},
    "beat": _beat,
    "flower": _flower,
    "migrate": _migrate,
    "manage": _manage,
}


if __name__ == "__main__":
    main(sys.argv[1:])
