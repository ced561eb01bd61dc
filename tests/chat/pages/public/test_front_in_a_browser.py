"""The pages of strangers in a real browser: whole, accessible and light, on a phone and a wide screen."""

import gzip
import os
from pathlib import Path

import pytest

from billing.topups.packages import seed_packages
from inference.catalogue import DEMO_KEY, SMALL_DEMO_KEY
from inference.models import CatalogueModel
from inference.worker.contracts import LoadedModel
from tests.e2e.looking import look_at
from tests.monitoring.gpu_workers import say_alive

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume"),  # WhiteNoise's files, as in config.asgi
]
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
DESKTOP = {"viewport": {"width": 1440, "height": 900}}
PATHS = {
    "landing": "/",
    "pricing": "/pricing/",
    "status": "/status/",
    "terms": "/terms/",
    "who-pays": "/credits/who-pays/",
    "log-in": "/accounts/login/",
    "sign-up": "/accounts/signup/",
}
TERMS = """# Terms of this trial

These words are the operator's own.

## What you get

- answers of a model, by the token
- [who pays for what](/credits/who-pays/)

| what | how long |
|---|---|
| receipts | ten years |
"""
MOST_BYTES = 100_000  # of the first visit, compressed


@pytest.fixture
def offers(catalogue, settings):
    settings.TERMS = TERMS
    seed_packages()
    CatalogueModel.objects.filter(key__in=[DEMO_KEY, SMALL_DEMO_KEY]).update(unavailable_reason="")
    say_alive(DEMO_KEY, models=[LoadedModel(DEMO_KEY, "ready", 1, 0, 0, 0.0)])


@pytest.mark.parametrize("size", [PHONE, DESKTOP])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_public_page_is_whole_and_accessible(open_page, offers, size, scheme):
    page = open_page(None, color_scheme=scheme, **size)
    for name, path in PATHS.items():
        page.goto(path)
        look_at(page, f"{name}-{scheme}-{size['viewport']['width']}")
        if folder := os.environ.get("TALLY_PICTURES"):
            file = Path(folder) / f"{name}-whole-{scheme}-{size['viewport']['width']}.png"
            page.screenshot(path=file, full_page=True)


@pytest.mark.parametrize("size", [PHONE, DESKTOP])
def test_the_menu_of_customers_leads_to_the_public_pages(open_page, offers, alice, size):
    page = open_page(alice, **size)
    if size is PHONE:
        page.click("[popovertarget=side] >> visible=true")
    page.click(".account summary")
    look_at(page, f"menu-{size['viewport']['width']}")
    page.click(".account >> text=Terms")
    page.wait_for_selector("h1:has-text('Terms of this trial')")


def test_no_page_scrolls_sideways_on_the_narrowest_phone(open_page, offers):
    page = open_page(None, viewport={"width": 320, "height": 640})
    for path in PATHS.values():
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path


def test_the_first_visit_is_light_and_asks_no_other_host(open_page, offers, server):
    page = open_page(None, "about:blank")
    responses = []
    page.on("response", lambda response: responses.append(response))  # noqa: PLW0108  Playwright wraps it
    page.goto("/", wait_until="networkidle")
    hosts = {response.url.split("/")[2] for response in responses}
    assert hosts == {server.url.split("/")[2]}
    sizes = {response.url: len(gzip.compress(response.body())) for response in responses}
    assert len(sizes) >= 4  # the page, its style, its script and its icons
    assert sum(sizes.values()) < MOST_BYTES, sizes


def test_the_front_door_works_without_javascript(open_page, offers):
    page = open_page(None, java_script_enabled=False)
    assert page.locator("[data-copy]").is_hidden()
    page.click("text=See the prices")
    assert page.url.endswith("#prices")
    page.click("header >> text=Sign up")
    assert page.url.endswith("/accounts/signup/?lang=en")


def test_the_five_lines_are_copied_with_a_click(open_page, offers):
    page = open_page(None)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("[data-copy]")
    page.wait_for_selector("[data-copy]:has-text('✓')")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("from openai import OpenAI\ntally = ")
    assert len(copied.splitlines()) == 5
