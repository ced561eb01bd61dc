"""The processes of Tally, and `run`, which brings them up, looks after them and takes them down."""

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploy import roles
from deploy.local import environment, interrupts, processes, readiness, runtime
from deploy.local.console import Step, say
from deploy.local.control import EXIT_INTERRUPTED, lock_of, summary, tell_who_runs
from deploy.local.embedded.server import EmbeddedServer, GivenServer
from deploy.local.embedded.servers import servers_of
from deploy.local.environment import PYTHON
from deploy.local.errors import StartupError, StepFailedError
from deploy.local.processes import Record
from deploy.local.runtime import ROOT, RuntimeFile
from deploy.local.steps import Command
from deploy.local.supervisor import App, Supervisor

WEB_PORT = 8000
FLOWER_PORT = 5555
HEALTHY_SECONDS = 180.0  # a slow disk loads torch for a minute
GPU_QUEUES = "generate.gemma-3-270m,generate.smollm2-135m"  # of the rest, the worker learns from the catalogue
NOT_FOR_FLOWER = (  # secrets; of Redis it has the broker's URL
    "SECRET_KEY",
    "SECRET_KEY_FALLBACKS",
    "JWT_SIGNING_KEY",
    "JWT_SIGNING_KEY_FALLBACKS",
    "MAILBOX_SECRET",
    "DATABASE_URL",
    "DATABASE_OWNER_URL",
    "REDIS_URL",
    "RELAY_REDIS_URL",
    "CACHE_REDIS_URL",
    "EMAIL_URL",
    "STRIPE_SECRET_KEY",
    "STRIPE_WEBHOOK_SECRET",
    "HF_TOKEN",
    "METRICS_TOKEN",
)
_ONE_ROLE = """\
    There is a DATABASE_URL, but no DATABASE_OWNER_URL: Tally runs as the role that owns its tables. What its
    triggers refuse stays refused, but that role may take them down (docs/database-roles.md)."""

_ONE_USER = """\
    There is one URL for all uses of Redis: who can write the cache can also give work to the workers
    (docs/redis-users.md)."""


def run(*, detached: bool = False) -> int:
    """Bring everything up, look after it until a stop is asked for, and take it all down again."""
    directory = runtime.local_directory()
    lock = lock_of(directory)
    if not lock.acquire():
        return tell_who_runs(directory)
    try:
        return Stack(directory, detached=detached).run()
    finally:
        lock.release()


class Stack:
    """One run of Tally in a local directory whose lock we hold.

    runtime.json holds: state (starting, running, stopping), healthy, supervisor_pid, web_url, flower_url,
    database_url, database_owner_url, redis_urls (by setting), processes, and the demo log-ins customer, staff and
    operator.
    """

    def __init__(self, directory: Path, *, detached: bool = False) -> None:
        self._directory = directory
        self._detached = detached
        self._logs = runtime.private_directory(directory / "logs")
        self._ready = runtime.private_directory(directory / "ready")
        self._file = RuntimeFile(directory)
        self._steps: list[Record] = []
        self._supervisor = Supervisor([], on_change=self._write)

    def run(self) -> int:
        """Returns the exit status: 0 after a run, 1 when it could not start, 130 when stopped before."""
        self._stop_leftovers()
        self._file.update(state="starting", supervisor_pid=os.getpid(), healthy=False, processes=[])
        was_up = False
        try:
            self._bring_up()
            was_up = True
            self._supervisor.watch()
        except interrupts.StopRequestedError:
            return 0 if was_up else EXIT_INTERRUPTED
        finally:
            self._take_down(was_up=was_up)
        return 0

    def _bring_up(self) -> None:
        say(f"Starting Tally in {ROOT}")
        environment.ensure("worker.txt")
        postgres, redis = servers_of(self._directory)
        for server, title in ((postgres, "PostgreSQL"), (redis, "Redis")):
            self._start_server(server, title)
        web_port, flower_port = self._port("web", WEB_PORT), self._port("flower", FLOWER_PORT)
        urls = {
            "web_url": f"http://127.0.0.1:{web_port}",
            "flower_url": f"http://127.0.0.1:{flower_port}",
            "database_url": postgres.url,
            "database_owner_url": postgres.owner_url,
        }
        redis_urls = redis.user_urls()
        self._file.update(**urls, redis_urls=redis_urls)
        if not postgres.owner_url:
            say(_ONE_ROLE)
        if len(set(redis_urls.values())) == 1:
            say(_ONE_USER)
        variables = {"FLOWER_URL": urls["flower_url"]} | self._variables(urls) | redis_urls
        people = self._set_up(variables)
        for app in self._apps(variables, web_port, flower_port, people["operator"]):
            self._supervisor.add(app)
        self._supervisor.wait_until_healthy(HEALTHY_SECONDS)
        self._file.update(state="running", **people)
        self._write()
        if not self._detached:
            say(summary(self._file.read(), self._directory, detached=False))

    def _take_down(self, *, was_up: bool) -> None:
        if was_up:
            say("Stopping Tally")
        with contextlib.suppress(OSError):  # a full disk, say: all the more reason to stop everything
            self._file.update(state="stopping", healthy=False)
        stubborn = self._supervisor.stop()
        if stubborn:
            say(f"These processes could not be stopped: {stubborn}")
            return
        self._file.remove()
        if was_up:
            say("Tally has stopped; its data is kept")

    def _stop_leftovers(self) -> None:
        """Stop what a supervisor that was killed left behind."""
        if processes.survivors(records := self._file.records()):
            with Step("Stopping what an earlier, killed start left behind"):
                stubborn = processes.stop(records)
            if stubborn:
                raise StartupError(f"Processes of an earlier start cannot be stopped: {stubborn}")

    def _start_server(self, server: EmbeddedServer | GivenServer, title: str) -> None:
        given = isinstance(server, GivenServer)
        with Step(f"{title} from the environment" if given else f"Starting {title}"):
            server.start()
            self._supervisor.adopt(server)
        if isinstance(server, EmbeddedServer) and server.moved_from_port:
            say(f"    port {server.moved_from_port} is taken: {title} uses {server.port}")

    def _port(self, name: str, default: int) -> int:
        """The port of last time or the default; the next free one when it is taken."""
        path = self._directory / "ports.json"
        ports = runtime.read_object(path)
        wanted = int(ports.get(name, default))
        port = processes.free_port(wanted)
        if port != wanted:
            say(f"    port {wanted} is taken: {name} uses {port}")
        runtime.write_private(path, json.dumps(ports | {name: port}))
        return port

    def _variables(self, urls: dict[str, str]) -> dict[str, str]:
        """The environment of every process: the user's own, and where everything is."""
        defaults = {"PUBLIC_URL": urls["web_url"], "TOKENIZERS_PARALLELISM": "false"}
        if "SECRET_KEY" not in os.environ:
            defaults["SECRET_KEY"] = runtime.secret_key(self._directory)
        return (
            defaults
            | environment.base_environment()
            | {
                "DJANGO_SETTINGS_MODULE": "config.settings.local",
                "DATABASE_URL": urls["database_url"],
                "DATABASE_OWNER_URL": "",
                "READY_DIR": str(self._ready),
                "TALLY_LOCAL_DIR": str(self._directory),
            }
        )

    def _set_up(self, variables: dict[str, str]) -> dict[str, Any]:
        """Migrate, prepare the model, seed. Returns the demo log-ins by role."""
        owner = {"DATABASE_OWNER_URL": self._file.value("database_owner_url")}  # the application's processes have none
        self._manage("Migrating the database", variables | owner, "migrate", "--noinput")
        self._manage("Preparing the demo models", variables, "prepare_models")
        lines = self._manage("Seeding the catalogue and demo accounts", variables, "seed_demo", "--json")
        for line in reversed(lines):
            if line.startswith("{"):
                people = json.loads(line)
                return {role: people[role] for role in ("customer", "staff", "operator")}
        raise StepFailedError("`manage.py seed_demo --json` printed no JSON object.")

    def _manage(self, title: str, variables: dict[str, str], *arguments: str) -> list[str]:
        return Command(
            title,
            [str(PYTHON), "manage.py", *arguments],
            environment=variables,
            log=self._logs / "setup.log",
            note=lambda line: line if arguments[0] == "prepare_models" else "",
            track=self._track,
        ).run()

    def _track(self, step: Record | None) -> None:
        self._steps = [step] if step else []
        self._write()

    def _write(self) -> None:
        records = [*self._supervisor.records(), *self._steps]
        healthy = self._supervisor.healthy and self._file.value("state") == "running"
        try:
            self._file.update(processes=[record.write() for record in records], healthy=healthy)
        except OSError as error:  # a full disk must not end what runs
            say(f"runtime.json is out of date: {error}")

    def _apps(self, variables: dict[str, str], web_port: int, flower_port: int, operator: dict[str, str]) -> list[App]:
        web_address, flower_address = f"127.0.0.1:{web_port}", f"127.0.0.1:{flower_port}"
        web = roles.web(web_address, processes=os.environ.get("WEB_WORKERS", "1"))
        beat = roles.beat(self._directory / "celerybeat-schedule")
        flower = roles.flower("127.0.0.1", flower_port, configuration=ROOT / "flowerconfig.py")
        threads = os.environ.get("GPU_WORKER_THREADS", "64")
        return [
            self._app(
                "web",
                web,
                variables | {"PROMETHEUS_MULTIPROC_DIR": str(self._directory / "metrics")},
                readiness.answers(web_address, "/readyz"),
                is_well=readiness.is_served(web_address, "/healthz"),
            ),
            self._worker(
                "gpu-worker",
                roles.GPU_NODE,
                roles.gpu_worker(GPU_QUEUES, threads=threads),
                {"WORKER_SERVES_NEW_MODELS": "1"} | variables,
            ),
            *(self._worker(f"{name}-worker", name, roles.side_worker(name), variables) for name in roles.SIDE_WORKERS),
            self._app(
                "beat",
                beat,
                variables,
                readiness.touched(self._ready / "beat.alive"),
                self._ready / "beat.alive",
                is_well=readiness.beats(self._ready / "beat.alive"),
            ),
            self._app(
                "flower",
                flower,
                _flower_environment(variables, operator),
                readiness.answers(flower_address, "/healthcheck"),
                is_well=readiness.is_served(flower_address, "/healthcheck"),
            ),
        ]

    def _worker(self, name: str, node: str, command: list[str], variables: dict[str, str]) -> App:
        """A Celery worker; it touches a file called as its node when it takes tasks."""
        ready = self._ready / node
        return self._app(
            name,
            command,
            variables,
            readiness.touched(ready),
            ready,
            is_well=readiness.beats(ready.with_suffix(".alive")),
        )

    def _app(
        self,
        name: str,
        module: list[str],
        variables: dict[str, str],
        is_ready: Callable[[App], bool],
        sign: Path | None = None,
        *,
        is_well: Callable[[], bool],
    ) -> App:
        """`sign` is the file whose existence says ready; each start removes it first."""
        return App(
            name,
            [str(PYTHON), "-m", *module],
            environment=variables,
            directory=ROOT,
            log=self._logs / f"{name}.log",
            is_ready=is_ready,
            before_start=(lambda: sign.unlink(missing_ok=True)) if sign else (lambda: None),
            is_well=is_well,
        )


def _flower_environment(variables: dict[str, str], operator: dict[str, str]) -> dict[str, str]:
    """That of every process without its secrets, and the log-in: everybody can read the arguments of a process."""
    kept = {name: value for name, value in variables.items() if name.removesuffix("_FILE") not in NOT_FOR_FLOWER}
    login = f"{operator['email']}:{operator['password']}"
    return kept | {"DJANGO_SETTINGS_MODULE": "config.settings.flower", "FLOWER_BASIC_AUTH": login}
