"""Swagger UI and ReDoc open in a real browser under the strict policy, from this host alone."""

import os
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.test import override_settings

from tests.support.asgi import serve

REFUSED_LOGO = "Loading the image 'https://cdn.redoc.ly/redoc/logo-mini.svg' violates"  # so it is not loaded
SIZES = {"desktop": {"width": 1280, "height": 800}, "phone": {"width": 390, "height": 844}}


@pytest.fixture
def page(chromium, live_server_files):
    """Call it for a page of one size; script errors, refused styles and foreign hosts fail the test."""
    contexts, troubles = [], []

    def note_host(response):
        if urlsplit(response.url).hostname not in ("127.0.0.1", None):
            troubles.append(response.url)

    def open_page(size):
        context = chromium.new_context(viewport=SIZES[size])
        contexts.append(context)
        opened = context.new_page()
        opened.on("pageerror", lambda error: troubles.append(f"error: {error}"))
        opened.on("console", lambda said: troubles.append(said.text) if said.type in ("error", "warning") else None)
        opened.on("response", note_host)
        return opened

    yield open_page
    for context in contexts:
        context.close()
    assert [trouble for trouble in troubles if not trouble.startswith(REFUSED_LOGO)] == []


@pytest.fixture
def live_server_files():
    """The pages and their files, as a development machine serves them."""
    with override_settings(WHITENOISE_USE_FINDERS=True), serve() as url:
        yield url


def look(page, name):
    if folder := os.environ.get("TALLY_PICTURES"):
        page.screenshot(path=Path(folder) / f"{name}.png")


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")  # WhiteNoise's files, as in config.asgi
@pytest.mark.parametrize("size", SIZES)
def test_swagger_ui_lists_and_opens_operations(page, live_server_files, size):
    opened = page(size)
    opened.goto(f"{live_server_files}/api/v1/docs/")
    opened.get_by_text("/api/v1/wallet", exact=True).wait_for()
    assert opened.locator(".opblock").count() >= 50
    opened.locator("#operations-Credits-wallet_retrieve .opblock-summary-control").click()
    opened.get_by_text("billing:read", exact=False).first.wait_for()
    look(opened, f"swagger-{size}")
    opened.locator("button.authorize").first.click()
    opened.get_by_text("ApiKey", exact=False).first.wait_for()


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")
@pytest.mark.parametrize("size", SIZES)
def test_redoc_shows_the_operations_with_their_styles(page, live_server_files, size):
    opened = page(size)
    opened.goto(f"{live_server_files}/api/v1/redoc/")
    opened.get_by_role("heading", name="Look at my balance").first.wait_for()
    look(opened, f"redoc-{size}")
    assert opened.locator("h1").first.evaluate("e => getComputedStyle(e).fontSize") != "32px"  # the browser's own


def test_no_documentation_page_loosens_the_policy(client):
    for name in ("docs", "redoc"):
        policy = client.get(f"/api/v1/{name}/")["Content-Security-Policy"]
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy
