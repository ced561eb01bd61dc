"""Servers that are stopped and whose data is removed after each test, also where it lies outside tmp_path."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.local.embedded.server import EmbeddedServer
from deploy.local.embedded.servers import PostgresServer, RedisServer

QUICK = {"fsync": "off"}  # a killed process loses nothing by it; only a power cut would


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[Callable[..., EmbeddedServer]]:
    made: list[EmbeddedServer] = []

    def make(name: str, directory: Path = tmp_path, *, port: int = 0) -> EmbeddedServer:
        if name == "postgresql":
            server: EmbeddedServer = PostgresServer(directory / name, preferred_port=port, settings=QUICK)
        else:
            server = RedisServer(directory / name, preferred_port=port)
        made.append(server)
        return server

    yield make
    for server in made:
        server.delete()


@pytest.fixture
def postgres(make_server: Callable[..., PostgresServer]) -> PostgresServer:
    return make_server("postgresql")


@pytest.fixture
def redis_server(make_server: Callable[..., RedisServer]) -> RedisServer:
    return make_server("redis")
