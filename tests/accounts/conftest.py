"""Clients, as the tests of the API have them."""

import pytest
from django.test import Client

from tests.api.conftest import api, login, one_minute, with_key  # noqa: F401  pytest finds fixtures by their names here


@pytest.fixture
def client_elsewhere():
    """Another browser."""
    return Client()
