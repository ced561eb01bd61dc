"""A live server, and the official OpenAI client on it."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import openai
import pytest

from accounts import api_keys
from accounts.models import Scope, User
from inference.engine.fake import FakeEngine
from inference.models import Generation
from inference.worker.process import current_worker
from tests.inference.engines import give_engine
from tests.support.live import LiveServer
from tests.support.stack import wait_until


@pytest.fixture(scope="module")
def _live() -> Iterator[LiveServer]:
    """Of one module, in which every test uses it: its worker takes whatever is queued."""
    live = LiveServer()
    yield live
    live.stop()


@pytest.fixture
def server(_live: LiveServer, transactional_db: None) -> Iterator[LiveServer]:
    """The web application and its worker. No answer runs into the next test."""
    _live.start()
    yield _live
    end = time.monotonic() + 3
    while Generation.objects.live().exists() and time.monotonic() < end:
        time.sleep(0.05)  # what is queued may be taken at any moment; what nobody takes is left
    wait_until(lambda: not current_worker().seats.jobs, 20, "the answers of this test to end")


@pytest.fixture
def engine(server: LiveServer) -> FakeEngine:
    """The engine of the worker; set its attributes to make it slow, short or failing."""
    engine = FakeEngine(length=6)
    give_engine(current_worker(), engine)
    return engine


@pytest.fixture
def key_of() -> Callable[..., str]:
    """Call it for a new API key of a user."""

    def make(user: User, *scopes: str, **options: Any) -> str:
        return api_keys.create_key(user=user, name="test", scopes=list(scopes or Scope.values), **options)[1]

    return make


@pytest.fixture
def client_of(server: LiveServer, key_of: Callable[..., str]) -> Iterator[Callable[..., openai.OpenAI]]:
    """Call it for the official client with a key of a user."""
    clients: list[openai.OpenAI] = []

    def make(user: User, **options: Any) -> openai.OpenAI:
        options.setdefault("api_key", key_of(user))
        clients.append(openai.OpenAI(base_url=f"{server.url}/v1", **({"max_retries": 0, "timeout": 20} | options)))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def ai(client_of: Callable[..., openai.OpenAI], alice: User, engine: FakeEngine) -> openai.OpenAI:
    """The official client with a key of alice."""
    return client_of(alice)


@pytest.fixture
def http(server: LiveServer, alice: User, key_of: Callable[..., str], engine: FakeEngine) -> Iterator[httpx.Client]:
    """Any HTTP client with a key of alice."""
    headers = {"Authorization": f"Bearer {key_of(alice)}"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=20) as client:
        yield client


@pytest.fixture
def paid(alice: User) -> Callable[[], tuple[int, int]]:
    """Call it for what alice has paid and what is held, in microcredits."""
    alice.wallet.refresh_from_db()
    before = alice.wallet.balance_microcredits

    def read() -> tuple[int, int]:
        alice.wallet.refresh_from_db()
        return before - alice.wallet.balance_microcredits, alice.wallet.held_microcredits

    return read


def price(generation: Generation) -> int:
    """What the demo model charges for a generation, in microcredits."""
    return generation.prompt_tokens * 20 + generation.completion_tokens * 40
