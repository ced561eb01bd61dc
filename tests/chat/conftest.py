"""What the chat tests share."""

from typing import Any
from uuid import uuid4

import pytest
from django.urls import reverse

from inference.catalogue import DEMO_KEY
from inference.engine.fake import FakeEngine
from inference.worker import Worker
from tests.inference.engines import give_engine


@pytest.fixture(scope="module")
def worker() -> Worker:
    """A worker in this process with the fake engine."""
    worker = Worker()
    give_engine(worker, FakeEngine(length=6))
    return worker


@pytest.fixture
def send(client: Any) -> Any:
    """Post a message as the composer does."""

    def post(text: Any = "Hello there", *, to: Any = None, key: Any = None, htmx: bool = False, **fields: Any) -> Any:
        url = reverse("chat:send", args=[to.pk]) if to else reverse("chat:send_new")
        data = {"text": text, "model": DEMO_KEY, "idempotency_key": key or uuid4(), **fields}
        return client.post(url, data, headers={"HX-Request": "true"} if htmx else {})

    return post
