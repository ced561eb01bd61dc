"""Tally as `docker compose up` runs it from a clean clone, behind nginx with TLS."""

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

from tests.docker.engine import compose_command, docker, own_wheels, run
from tests.support.stack import ROOT, wait_until

PROJECT = "tallytest"
DOMAIN = "tally.test"
HTTPS_PORT = 18443
NGINX_ADDRESS = "172.30.95.2"
END = {"migrate", "models"}  # they do their work and end
HEALTHY_SECONDS = 400
ENVIRONMENT = {
    "TALLY_SETTINGS": "production",
    "TALLY_DOMAIN": DOMAIN,
    "PUBLIC_URL": f"https://{DOMAIN}:{HTTPS_PORT}",
    "ALLOWED_HOSTS": DOMAIN,
    "TALLY_HTTP_PORT": "18080",
    "TALLY_HTTPS_PORT": str(HTTPS_PORT),
    "TALLY_TRIAL_PORT": "18000",
    "TALLY_NETWORK": "172.30.95.0/24",
    "TALLY_NETWORK_RANGE": "172.30.95.128/25",
    "TALLY_NGINX_ADDRESS": NGINX_ADDRESS,
    "TALLY_VERSION": "test",
    "INFERENCE_THREADS": "1",  # threads that wait for each other make a busy machine slow
}


class Site:
    """One deployment. `folder` is the clone it runs from."""

    url = f"https://{DOMAIN}:{HTTPS_PORT}"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def clone(self) -> None:
        """What is committed, without anything else that lies around; and the wheels that the index does not have."""
        run("git", "clone", "--quiet", ROOT, self.folder)
        for wheel in own_wheels():
            shutil.copy(wheel, self.folder / "wheels")

    def configure(self) -> None:
        """What an operator does before the first start: .env, the secrets, a certificate, the mail server."""
        lines = (self.folder / ".env.example").read_text().splitlines()
        kept = [line for line in lines if line.partition("=")[0] not in ENVIRONMENT]
        own = [f"{name}={value}" for name, value in ENVIRONMENT.items()]
        (self.folder / ".env").write_text("\n".join([*kept, *own, ""]))
        run(self.folder / "deploy" / "secrets.sh")
        run(self.folder / "deploy" / "nginx" / "self_signed.sh", DOMAIN, self.folder / "secrets" / "certificates")
        (self.folder / "secrets" / "email_url").write_text("smtp://mail:1025")
        run(self.folder / "deploy" / "secrets.sh")

    def compose(self, *words: str, **options: Any) -> str:
        """`docker compose ...` with both profiles and what the tests change."""
        files = ["-f", "compose.yaml", "-f", "tests/docker/compose.test.yaml"]
        command = [*compose_command(), "-p", PROJECT, *files, "--profile", "cpu", "--profile", "production", *words]
        variables = {name: value for name, value in os.environ.items() if name not in ENVIRONMENT}
        return run(*command, cwd=self.folder, env=variables, **options)

    def up(self) -> None:
        """Start everything; returns when all of it is healthy."""
        self.compose("up", "-d")
        self.wait_until_healthy()

    def services(self) -> list[str]:
        """All that run for good."""
        label = "com.docker.compose.service"
        there = docker(
            "ps", "-a", "-f", f"label=com.docker.compose.project={PROJECT}", "--format", f'{{{{.Label "{label}"}}}}'
        )
        return sorted(set(there.split()) - END)

    def container(self, service: str) -> str:
        """The id of a service's container, whether it runs or not; empty where there is none."""
        labels = {"project": PROJECT, "service": service}
        filters = [
            word for name, value in labels.items() for word in ("-f", f"label=com.docker.compose.{name}={value}")
        ]
        return docker("ps", "-a", "-q", "--no-trunc", *filters)

    def inspect(self, service: str) -> dict[str, Any]:
        """What the engine knows of the container."""
        found: dict[str, Any] = json.loads(docker("inspect", self.container(service)))[0]
        return found

    def is_healthy(self, service: str) -> bool:
        """Whether it runs and its health check says so; the mail server of the tests has none."""
        state = self.inspect(service)["State"]
        return state["Running"] and state.get("Health", {}).get("Status", "healthy") == "healthy"

    def wait_until_healthy(self, *services: str) -> float:
        """Wait for these, or for all. Returns the seconds that it took."""
        began = time.monotonic()
        for service in services or self.services():
            wait_until(lambda service=service: self.is_healthy(service), HEALTHY_SECONDS, f"{service} is healthy")
        return time.monotonic() - began

    def kill(self, service: str) -> None:
        """SIGKILL for every process of the container but its init, which then ends too.

        `docker kill` would tell the engine that this is wanted, and the container would stay down.
        """
        docker("exec", self.container(service), "sh", "-c", "kill -9 -1", check=False)

    def restarts(self, service: str) -> int:
        """How often the engine has started it again."""
        return int(self.inspect(service)["RestartCount"])

    def manage(self, *words: str) -> str:
        """One command of manage.py in the web container."""
        return docker("exec", self.container("web"), "python", "manage.py", *words)

    def verify_ledger(self) -> None:
        """0 faults, or the test fails."""
        said = self.manage("verify_ledger")
        assert "0 faults" in said, said

    def query(self, statement: str) -> list[list[str]]:
        """Ask the database, as its superuser."""
        said = docker("exec", self.container("postgres"), "psql", "-U", "postgres", "-d", "tally", "-Atc", statement)
        return [line.split("|") for line in said.splitlines()]

    def mails(self) -> str:
        """All that the mail server was given."""
        return docker("logs", self.container("mail"))
