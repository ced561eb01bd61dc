"""Clients of the API, for the operators' part of it."""

from collections.abc import Callable, Iterator

import pytest

from inference.worker.status import forget_worker
from tests.monitoring.gpu_workers import NAME, say_alive
from tests.support.api_clients import api, login, one_minute, talk, tokenizer, with_key  # noqa: F401  fixtures
from tests.support.openai_clients import _live, ai, client_of, engine, http, key_of, paid, server  # noqa: F401  fixtures
from tests.support.watching import streams, watched  # noqa: F401  fixtures


@pytest.fixture
def worker() -> Iterator[Callable[..., None]]:
    """Call it for a GPU worker that was heard of just now and serves these models."""
    yield say_alive
    forget_worker(NAME)
