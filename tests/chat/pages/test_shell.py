"""The frame of the pages in a browser: the side bar, the menus, and the composer's choices."""

from typing import Any

import pytest

from accounts.models import User
from chat.models import Conversation
from inference.catalogue import DEMO_KEY
from inference.models import CatalogueModel, Generation
from tests.chat.pages.browser import path_of
from tests.e2e.looking import look_at
from tests.support.cast import answered_talk

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume"),  # WhiteNoise's files, as in config.asgi
]
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
DESKTOP = {"viewport": {"width": 1440, "height": 900}}
CLOSE, OPEN = "button[aria-label='Close the side bar']", "button[aria-label='Open the side bar']"


@pytest.fixture
def talk(alice: User) -> Conversation:
    """A conversation of alice."""
    return answered_talk(alice, CatalogueModel.objects.get(key=DEMO_KEY))


def test_a_side_bar_that_was_closed_stays_closed_on_every_page(open_page: Any, alice: User, talk: Any) -> None:
    page = open_page(alice, path_of(talk), **DESKTOP)
    page.click(CLOSE)
    page.wait_for_selector(".side", state="hidden")
    assert page.locator(OPEN).evaluate("node => node === document.activeElement")
    page.goto("/credits/")
    assert page.locator(".side").is_hidden()
    page.click(OPEN)
    assert page.locator(".side").is_visible()
    page.goto(path_of(talk))
    assert page.locator(".side").is_visible()


@pytest.mark.parametrize("has_script", [True, False])
def test_on_a_phone_the_side_bar_is_a_drawer(open_page: Any, alice: User, talk: Any, has_script: bool) -> None:
    page = open_page(alice, path_of(talk), java_script_enabled=has_script, **PHONE)
    assert page.locator(".side").is_hidden()
    page.click(OPEN)
    assert page.locator(".side .account").is_visible()
    page.click(CLOSE)
    assert page.locator(".side").is_hidden()


def test_menus_close_by_escape_and_by_a_click_elsewhere(open_page: Any, alice: User, talk: Any) -> None:
    page = open_page(alice, path_of(talk), **DESKTOP)
    for summary in (".pick", "summary.icon[aria-label='Settings of this conversation']", ".account summary"):
        page.click(summary)
        assert page.locator("details[open]").count() == 1
        page.keyboard.press("Escape")
        assert page.locator("details[open]").count() == 0
        assert page.locator(summary).evaluate("node => node === document.activeElement")
        page.click(summary)
        page.click("h1")
        assert page.locator("details[open]").count() == 0


def test_a_model_is_picked_with_the_keyboard(open_page: Any, alice: User, talk: Any) -> None:
    CatalogueModel.objects.filter(key="gemma-3-1b").update(unavailable_reason="")
    page = open_page(alice, "/", **DESKTOP)
    first, second = page.locator("[name=model]:enabled").evaluate_all("all => all.map(one => one.dataset.name)")[:2]
    assert page.inner_text("[data-picked]") == first
    page.focus(".pick")
    page.keyboard.press("Enter")
    page.focus("[name=model]:checked")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Escape")
    assert page.inner_text("[data-picked]") == second


def test_a_mood_sets_the_numbers_and_reset_empties_them(open_page: Any, alice: User, talk: Any) -> None:
    page = open_page(alice, path_of(talk), **DESKTOP)
    page.click("summary.icon[aria-label='Settings of this conversation']")
    balanced, exact = page.get_by_role("button", name="Balanced"), page.get_by_role("button", name="Exact")
    assert balanced.get_attribute("aria-pressed") == "true"
    exact.click()
    assert page.input_value("#id_temperature") == "0"
    assert [exact.get_attribute("aria-pressed"), balanced.get_attribute("aria-pressed")] == ["true", "false"]
    page.fill("#id_system_prompt", "Be brief.")
    page.get_by_role("button", name="Reset").click()
    assert [page.input_value("#id_temperature"), page.input_value("#id_system_prompt")] == ["", ""]


def test_without_a_script_a_model_and_settings_are_chosen(open_page: Any, alice: User, talk: Any) -> None:
    page = open_page(alice, path_of(talk), java_script_enabled=False, **DESKTOP)
    page.click("summary.icon[aria-label='Settings of this conversation']")
    page.fill("#id_temperature", "0")
    page.click("summary.icon[aria-label='Settings of this conversation']")
    page.fill("#prompt", "And a dog?")
    page.click("#composer .go")
    page.wait_for_selector(".turn.me:has-text('And a dog?')")
    assert Generation.objects.latest("created_at").temperature == 0


def test_shortcuts_do_what_their_list_says(open_page: Any, alice: User, talk: Any) -> None:
    page = open_page(alice, path_of(talk), **DESKTOP)
    page.keyboard.press("Control+k")
    assert page.locator("[type=search]").evaluate("node => node === document.activeElement")
    page.keyboard.press("Shift+Escape")
    assert page.locator("#prompt").evaluate("node => node === document.activeElement")
    page.keyboard.press("Control+/")
    assert page.locator("#keys").is_visible()
    look_at(page, "keys")
    page.keyboard.press("Escape")
    assert page.locator("#keys").is_hidden()
    page.keyboard.press("Control+Shift+Semicolon")
    page.wait_for_selector(".turn.it [data-copy] use[href$='#check']", state="attached")
    page.keyboard.press("Control+Shift+O")
    page.wait_for_selector("h1:has-text('New chat')")


def test_without_a_connection_the_page_says_so_and_the_draft_is_kept(open_page: Any, alice: User, talk: Any) -> None:
    page = open_page(alice, path_of(talk), service_workers="allow", **DESKTOP)
    page.fill("#prompt", "And a dog?")
    page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    page.goto(path_of(talk))  # a page that the service worker serves
    page.context.set_offline(True)
    page.goto(path_of(talk))
    page.wait_for_selector("h1:has-text('No connection')")
    assert page.evaluate("getComputedStyle(document.querySelector('.door')).display") == "grid"
    page.context.set_offline(False)
    page.goto(path_of(talk))
    assert page.input_value("#prompt") == "And a dog?"


def test_tally_can_be_installed(client: Any) -> None:
    manifest = client.get("/manifest.webmanifest").json()
    assert (manifest["start_url"], manifest["display"]) == ("/", "standalone")
    assert {icon["purpose"] for icon in manifest["icons"]} == {"any", "maskable"}
    worker = client.get("/service-worker.js")
    assert worker["Content-Type"] == "text/javascript"
    assert worker.cookies == {}


@pytest.mark.parametrize("size", [PHONE, DESKTOP])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_of_a_new_chat_and_its_menus_are_whole(open_page: Any, alice: User, size: Any, scheme: str) -> None:
    page = open_page(alice, "/", color_scheme=scheme, **size)
    name = f"{scheme}-{size['viewport']['width']}"
    look_at(page, f"new-{name}")
    page.click(".try >> nth=0")
    assert page.input_value("#prompt") == "Write a gentle no to a meeting invitation."
    page.wait_for_selector("#estimate:has-text('at most')")
    for summary in (".pick", "summary.icon[aria-label='Settings of this conversation']"):
        page.click(summary)
        assert page.locator("details[open] > .pop").bounding_box()["y"] >= 0  # else its head cannot be reached
        look_at(page, f"menu-{name}")
        page.keyboard.press("Escape")
