"""What the tests of the settings share."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from tests.chat.conftest import _queries_beside_playwright, open_page  # noqa: F401  fixtures
from tests.support.cast import PASSWORD


@pytest.fixture
def confirmed() -> Callable[[Any], Client]:
    """Call it for a browser in which a user has just given their password again."""

    def log_in(user: Any) -> Client:
        client = Client()
        client.force_login(user)
        answer = client.post(reverse("account_reauthenticate"), {"password": PASSWORD})
        assert answer.status_code == 302
        return client

    return log_in
