"""Clients of the API, for billing's part of it."""

from tests.support.api_clients import api, login, one_minute, talk, tokenizer, with_key  # noqa: F401  fixtures
from tests.support.openai_clients import _live, ai, client_of, engine, http, key_of, paid, server  # noqa: F401  fixtures
from tests.support.watching import streams, watched  # noqa: F401  fixtures
