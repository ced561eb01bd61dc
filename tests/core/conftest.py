"""Clients of the API, for the tests of where requests come from."""

from tests.support.api_clients import api, login, one_minute, with_key  # noqa: F401  fixtures
