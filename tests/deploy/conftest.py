"""Tally behind nginx, with the settings of production that a proxy has to do with."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import httpx
import pytest
from django.test import override_settings

from core.addresses import read_networks
from tests.core.postgresql.production import read_production
from tests.support.api_clients import login, tokenizer, with_key  # noqa: F401  fixtures
from tests.support.live import LiveServer
from tests.support.nginx import free_port
from tests.support.openai_clients import client_of, engine, http, key_of, paid, server  # noqa: F401  fixtures
from tests.support.site_nginx import DOMAIN, SiteNginx, site_nginx

OF_PRODUCTION = (
    "SECURE_SSL_REDIRECT",
    "SECURE_REDIRECT_EXEMPT",
    "SECURE_PROXY_SSL_HEADER",
    "SECURE_HSTS_SECONDS",
    "SECURE_HSTS_INCLUDE_SUBDOMAINS",
    "SECURE_HSTS_PRELOAD",
    "SESSION_COOKIE_SECURE",
    "CSRF_COOKIE_SECURE",
    "SESSION_COOKIE_NAME",
    "CSRF_COOKIE_NAME",
    "MESSAGE_STORAGE",
)
NGINX = "127.0.0.1"


@pytest.fixture(scope="module")
def _as_in_production() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        production = read_production(patch)
    settings = {name: production[name] for name in OF_PRODUCTION}
    with override_settings(ALLOWED_HOSTS=[DOMAIN], TRUSTED_PROXIES=read_networks([NGINX]), **settings):
        yield


@pytest.fixture(scope="module")
def _live(_as_in_production: None) -> Iterator[LiveServer]:
    """Of one module: the application and its worker, as `tests.support.openai_clients` wants it."""
    live = LiveServer()
    yield live
    live.stop()


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., SiteNginx]]:
    """Call it for a running nginx of this module."""
    with ExitStack() as stack:
        yield lambda web, **options: stack.enter_context(site_nginx(tmp_path_factory.mktemp("nginx"), web, **options))


@pytest.fixture(scope="module")
def _site(_live: LiveServer, opened: Callable[..., SiteNginx]) -> SiteNginx:
    _live.start()
    return opened(_live.url.removeprefix("http://"))


@pytest.fixture
def site(server: LiveServer, _site: SiteNginx) -> SiteNginx:  # noqa: F811  the fixture
    """nginx before the application of this module."""
    return _site


@pytest.fixture(scope="module")
def away(opened: Callable[..., SiteNginx]) -> SiteNginx:
    """nginx, while the application is away."""
    return opened(f"127.0.0.1:{free_port()}")


@pytest.fixture
def visit() -> Iterator[Callable[..., httpx.Client]]:
    """Call it for an HTTP/1.1 client of a site, from an address of this machine; each address has limits of its own."""
    with ExitStack() as stack:

        def make(site: SiteNginx, address: str = "127.0.0.1", **options: Any) -> httpx.Client:
            trust = ssl.create_default_context(cafile=site.certificate)
            transport = httpx.HTTPTransport(local_address=address, verify=trust)
            return stack.enter_context(httpx.Client(base_url=site.url, transport=transport, timeout=30, **options))

        yield make


@pytest.fixture
def silent() -> Iterator[str]:
    """The host:port of a server that takes connections, and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as door:
        host, port = door.getsockname()
        yield f"{host}:{port}"


class Breaking:
    """A server that reads a request and then closes its connection, as an application that dies in the middle.

    It has two addresses, as an application with two containers.
    """

    addresses = ("127.0.0.1", "127.0.0.2")

    def __init__(self) -> None:
        self.requests = 0
        self.port = free_port()
        self._doors = [socket.create_server((address, self.port)) for address in self.addresses]
        self._threads = [threading.Thread(target=self._serve, args=(door,)) for door in self._doors]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Shut the doors."""
        for door, thread in zip(self._doors, self._threads, strict=True):
            door.shutdown(socket.SHUT_RDWR)
            thread.join(timeout=10)
            door.close()

    def _serve(self, door: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _address = door.accept()
                with client:
                    self.requests += bool(client.recv(65_536))


@pytest.fixture
def breaking() -> Iterator[Breaking]:
    """Its `requests` are counted."""
    application = Breaking()
    yield application
    application.stop()
