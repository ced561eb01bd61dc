"""The whole of Tally as `startup.py` runs it, for the browser and fault tests."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

from deploy.local import processes
from deploy.local.embedded.servers import PostgresServer, RedisServer
from deploy.local.runtime import RuntimeFile

ROOT = Path(__file__).resolve().parents[2]
NOT_OURS = ("DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL", "REDIS_ADMIN_URL", "SECRET_KEY")


class Stack:
    """A running Tally in a directory of its own, with a Redis that the tests may stop."""

    def __init__(self, directory: Path) -> None:
        self.local = directory / "local"
        self.redis = RedisServer(directory / "redis", preferred_port=0)

    def start(self) -> None:
        """`startup.py run --detach`, which must end 0 with everything healthy."""
        self.redis.start()
        self.startup("run", "--detach")
        assert self.runtime["healthy"]

    def stop(self) -> None:
        """`startup.py stop`, which must leave no process behind."""
        records = RuntimeFile(self.local).records()
        self.startup("stop")
        self.redis.delete()
        PostgresServer(self.local / "postgresql").delete()
        assert processes.survivors(records) == []

    def startup(self, *arguments: str) -> str:
        """Run startup.py and return what it printed; it must end 0."""
        done = subprocess.run(
            [sys.executable, ROOT / "startup.py", *arguments],
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def manage(self, *arguments: str) -> str:
        """Run a management command against this stack and return what it printed; it must end 0."""
        done = subprocess.run(
            [sys.executable, ROOT / "manage.py", *arguments],
            env=self._environment()
            | {
                "DATABASE_URL": self.runtime["database_url"],
                "SECRET_KEY": "for tests only, and as long as a signature wants it",
                "DJANGO_SETTINGS_MODULE": "config.settings.local",
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def verify_ledger(self) -> None:
        """0 faults, or the test fails."""
        assert self.manage("verify_ledger").startswith("0 faults")

    @property
    def runtime(self) -> dict[str, Any]:
        """What runtime.json says now."""
        content: dict[str, Any] = json.loads((self.local / "runtime.json").read_text())
        return content

    @property
    def url(self) -> str:
        """Where the pages are."""
        return str(self.runtime["web_url"])

    def pid(self, name: str) -> int:
        """The process id of one of the processes, as the supervisor sees it now; 0 while it is being restarted."""
        return int(next((p["pid"] for p in self.runtime["processes"] if p["name"] == name), 0))

    def kill(self, name: str) -> int:
        """SIGKILL one process and return its id."""
        pid = self.pid(name)
        os.kill(pid, signal.SIGKILL)
        return pid

    def query(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Ask the database directly."""
        with psycopg.connect(self.runtime["database_owner_url"]) as connection:
            cursor = connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def wallet(self, email: str) -> tuple[int, int]:
        """Balance and held of a user, in microcredits."""
        [(balance, held)] = self.query(
            "SELECT balance_microcredits, held_microcredits FROM billing_wallet w"
            " JOIN accounts_user u ON u.id = w.user_id WHERE email = %s",
            email,
        )
        return balance, held

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name not in NOT_OURS}
        kept.pop("DJANGO_SETTINGS_MODULE", None)
        kept.pop("INFERENCE_ENGINE", None)
        own = {"TALLY_LOCAL_DIR": str(self.local), **self.redis.user_urls()}
        return kept | own | {"MAILBOX_SECRET": "for tests only"}  # by it, `manage` knows the mailboxes of the processes


def wait_until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """Return the first true result of `condition`; fail with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.1)
    return result
