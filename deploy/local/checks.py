"""`test` and `check`: servers of their own under <local>/test/, so that a running Tally is not disturbed."""

import contextlib
import subprocess
from collections.abc import Iterator
from functools import partial

from deploy.local import environment, interrupts, processes, runtime
from deploy.local.console import Step, say
from deploy.local.control import EXIT_INTERRUPTED
from deploy.local.embedded.servers import PostgresServer, RedisServer
from deploy.local.environment import PYTHON
from deploy.local.processes import Record
from deploy.local.runtime import ROOT, Lock
from deploy.local.steps import Command

DEMO_MODELS = ("gemma-3-270m", "smollm2-135m")
# Each has databases of its own; tests/conftest.py says which tests belong together.
IN_TWO_PROCESSES = ["-n", "2", "--no-loadscope-reorder"]

CHECKS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("ruff check", ("-m", "ruff", "check", ".")),
    ("ruff format", ("-m", "ruff", "format", "--check", ".")),
    ("mypy", ("-m", "mypy")),
    ("djlint", ("-m", "djlint", "templates", "--check", "--lint")),
    (
        "lint-imports",  # it has no module to run, and a script of .venv does not survive a move of the tree
        ("-c", "from importlinter.cli import lint_imports_command as main; main()"),
    ),
    ("manage.py check", ("manage.py", "check")),
    ("makemigrations --check", ("manage.py", "makemigrations", "--check", "--dry-run")),
)


def test(arguments: list[str]) -> int:
    """Run the whole suite in two processes, or what pytest's arguments choose. Returns pytest's exit status."""
    with _prepared() as variables:
        manage = partial(Command, environment=variables)
        migrate = [str(PYTHON), "manage.py", "migrate", "--noinput"]
        manage("Migrating the database", migrate, note=lambda _line: "").run()
        prepare = [str(PYTHON), "manage.py", "prepare_models", *DEMO_MODELS]
        manage("Preparing the demo models", prepare).run()
        return _run_in_view([str(PYTHON), "-m", "pytest", *(arguments or IN_TWO_PROCESSES)], variables)


def check() -> int:
    """Run every linter and check, even after one fails. 0 when all pass, else 1."""
    results = {}
    with _prepared() as variables:
        for title, arguments in CHECKS:
            command = Command(
                title,
                [str(PYTHON), *arguments],
                environment=variables,
                note=lambda _line: "",
                keep_lines=None,
            )
            with Step(title) as step:
                results[title] = command.status(step) == 0
            if not results[title]:
                say(command.last_lines())
    say()
    for title, passed in results.items():
        say(f"  {'ok    ' if passed else 'FAILED'}  {title}")
    return 0 if all(results.values()) else 1


@contextlib.contextmanager
def _prepared() -> Iterator[dict[str, str]]:
    """Development requirements and running servers; gives the environment for the commands."""
    environment.ensure("dev.txt")
    directory = runtime.private_directory(runtime.local_directory() / "test")
    lock = Lock(directory / "lock")
    if not lock.acquire():
        _wait_for(lock)
    postgres = PostgresServer(directory / "postgresql", preferred_port=0, settings={"fsync": "off"})
    redis = RedisServer(directory / "redis", preferred_port=0)
    try:
        with Step("Starting PostgreSQL and Redis for the tests"):
            postgres.start()
            postgres.empty()  # migrations that are being written may change under it
            redis.delete()
            redis.start()
        yield environment.base_environment() | {
            "DJANGO_SETTINGS_MODULE": "config.settings.test",
            "DATABASE_URL": postgres.url,
            "DATABASE_OWNER_URL": postgres.owner_url,
            **redis.user_urls(),
            "REDIS_ADMIN_URL": redis.url,
            "TOKENIZERS_PARALLELISM": "false",
            "OMP_NUM_THREADS": "1",  # several models run at once: threads of torch that wait for each other spin
        }
    finally:
        redis.stop()
        postgres.stop()
        lock.release()


def _wait_for(lock: Lock) -> None:
    with Step(f"Waiting for another test run (pid {lock.holder()}) to end") as step:
        step.note("this one goes on by itself afterwards")
        while not lock.acquire(patience_seconds=0):
            interrupts.pause(0.2)
            step.tick()


def _run_in_view(arguments: list[str], variables: dict[str, str]) -> int:
    """Run a command on our own terminal; pass a stop request on to it and leave none of its group."""
    child = subprocess.Popen(arguments, cwd=ROOT, env=variables, start_new_session=True)
    record = Record(name="pytest", pid=child.pid, mark=" ".join(arguments[1:]), role="test")
    try:
        while child.poll() is None:
            interrupts.pause(0.1)
    except interrupts.StopRequestedError:
        processes.stop([record], child.poll)
        return EXIT_INTERRUPTED
    finally:
        processes.kill_group(child.pid)
        child.wait()
    return child.returncode
