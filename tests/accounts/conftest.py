"""Clients, as the tests of the API have them."""

from tests.api.conftest import api, login, one_minute, with_key  # noqa: F401  pytest finds fixtures by their names here
