"""What the chat tests share."""

import os
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse

from inference.catalogue import DEMO_KEY
from inference.engine.fake import FakeEngine
from inference.worker.worker import Worker
from tests.e2e.looking import close
from tests.inference.engines import give_engine
from tests.support import openai_clients

# A live server and its engine.
_live, server, engine = openai_clients._live, openai_clients.server, openai_clients.engine
key_of = openai_clients.key_of


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


@pytest.fixture(scope="module")
def _queries_beside_playwright() -> Iterator[None]:
    """Playwright's loop runs in the test's own thread, where Django would take every query for a mistake."""
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    yield
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture
def open_page(
    _queries_beside_playwright: None, chromium: Any, server: Any, engine: Any
) -> Iterator[Callable[..., Any]]:
    """Call it with a user, None for a stranger, and a path for a page of theirs; script errors fail the test."""
    contexts: list[Any] = []
    errors: list[str] = []

    def open_one(user: Any, path: str = "/", *, host: str = "127.0.0.1", **options: Any) -> Any:
        url = f"http://{host}:{urlsplit(server.url).port}"
        context = chromium.new_context(base_url=url, **{"service_workers": "block", **options})
        contexts.append(context)
        context.set_default_timeout(20_000)
        if user is not None:
            browser = Client()
            browser.force_login(user)
            name = settings.SESSION_COOKIE_NAME
            context.add_cookies([{"name": name, "value": browser.cookies[name].value, "url": url}])
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(path)
        return page

    yield open_one
    for context in contexts:
        close(context)
    assert errors == []
