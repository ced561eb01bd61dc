"""Clients of the API: with a log-in, with a key, or with nothing."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from rest_framework.test import APIClient
from tokenizers import Tokenizer

from accounts import api_keys
from accounts.login.sessions import TokenPair, open_session
from accounts.models import ApiKey, ApiSession, Scope, User
from inference.catalogue import DEMO_KEY
from tests.support.cast import answered_talk


class Client(APIClient):
    """Counts its requests against nobody else's address, and reads problems. Tests find what it was made with."""

    session_row: ApiSession
    tokens: TokenPair
    key: ApiKey
    text: str

    def bearer(self, text: str) -> "Client":
        self.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")
        return self


@pytest.fixture
def api() -> Client:
    """Nobody in particular."""
    return Client()


@pytest.fixture
def login(rf: Any) -> Callable[[User], Client]:
    """Call it for a client that has logged in, with its session as `session`."""

    def log_in(user: User) -> Client:
        pair = open_session(user=user, request=rf.post("/"), is_confirmed=True)
        client = Client().bearer(pair.access)
        client.session_row, client.tokens = pair.session, pair
        return client

    return log_in


@pytest.fixture
def with_key() -> Callable[..., Client]:
    """Call it for a client with a key of these scopes; all of them by default."""

    def make(user: User, *scopes: str, **options: Any) -> Client:
        key, text = api_keys.create_key(user=user, name="test", scopes=list(scopes or Scope.values), **options)
        client = Client().bearer(text)
        client.key, client.text = key, text
        return client

    return make


@pytest.fixture
def one_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the clock of the limits, so that no window ends in the middle of a test."""
    now = time.time()
    monkeypatch.setattr("django_ratelimit.core.time.time", lambda: now)


@pytest.fixture
def talk(alice, catalogue):
    """A conversation of alice's with an answer that was charged."""
    return answered_talk(alice, catalogue)


@pytest.fixture(scope="session")
def tokenizer():
    """Gemma's own tokenizer."""
    return Tokenizer.from_file(str(settings.MODEL_DIR / DEMO_KEY / "tokenizer.json"))
