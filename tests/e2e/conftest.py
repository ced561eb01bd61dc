"""What the tests of the whole stack share."""

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.support.stack import Stack


@pytest.fixture(scope="module")
def key(stack: Stack) -> str:
    """A key of the demo customer, made over the API as anybody would."""
    login = stack.runtime["customer"]
    with httpx.Client(base_url=stack.url, timeout=20) as http:
        tokens = http.post("/api/v1/auth/token", json={"email": login["email"], "password": login["password"]}).json()
        bearer = {"Authorization": f"Bearer {tokens['access']}"}
        made = http.post("/api/v1/keys", json={"name": "e2e", "scopes": ["chat"]}, headers=bearer)
    assert made.status_code == 201, made.text
    return str(made.json()["key"])


@pytest.fixture(scope="module")
def openai_client(stack: Stack, key: str) -> Iterator[Any]:
    """The official client with that key; it retries nothing by itself."""
    with openai.OpenAI(base_url=f"{stack.url}/v1", api_key=key, max_retries=0, timeout=180) as client:
        yield client
