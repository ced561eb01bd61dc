"""Pages are light, accessible and whole on a phone; the pictures go to TALLY_PICTURES when that is set."""

from typing import Any

import pytest

from tests.e2e.asking import ask, receipt_of
from tests.e2e.looking import look_at
from tests.support.stack import wait_until

pytestmark = pytest.mark.e2e
LOOKS: dict[str, dict[str, Any]] = {
    "desktop-light": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"},
    "desktop-dark": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "dark"},
    "phone-light": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light", "has_touch": True},
    "phone-dark": {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark", "has_touch": True},
}


@pytest.mark.parametrize("look", LOOKS)
def test_every_page_is_whole_and_accessible(browse, chromium, stack, look):
    context = chromium.new_context(base_url=stack.url, **LOOKS[look])
    for path in ("login", "signup", "password/reset"):
        door = context.new_page()
        door.goto(f"/accounts/{path}/")
        look_at(door, f"{path.replace('/', '-')}-{look}")
    context.close()
    page = browse(**LOOKS[look])
    look_at(page, f"home-{look}")
    answer = ask(page, "Show me a `table` and some code, please. " * 4)
    wait_until(lambda: len(answer.locator(".said").inner_text()) > 30, 60, "some text")
    look_at(page, f"streaming-{look}")
    page.click("[data-stop]")
    receipt_of(answer)
    look_at(page, f"answered-{look}")
    if look.startswith("phone"):
        page.click("[popovertarget=side] >> visible=true")
        look_at(page, f"drawer-{look}")
        page.keyboard.press("Escape")
    if look.startswith("phone"):
        page.click("[popovertarget=side] >> visible=true")
    page.click(".account summary")
    look_at(page, f"account-{look}")
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    answer.locator(".receipt").click()
    look_at(page, f"receipt-{look}")
    for path in ("", "buy/", "usage/", "who-pays/", "spending/", "statements/"):
        page.goto(f"/credits/{path}")
        look_at(page, f"credits-{path.strip('/')}-{look}")
    page.click("ul.months a >> nth=0")
    page.wait_for_selector("#lines tbody tr")
    look_at(page, f"statement-{look}")


@pytest.mark.parametrize("look", LOOKS)
def test_the_way_to_an_automatic_top_up_is_whole_and_accessible(browse, look):
    page = browse(**LOOKS[look])
    page.goto("/credits/spending/")
    page.fill("#cap_cap", "-1")
    page.evaluate("document.querySelector('#cap form').noValidate = true")  # so that our own words are seen
    page.click("#cap button")
    page.wait_for_selector("#cap .errorlist:has-text('more than zero')")
    look_at(page, f"spending-error-{look}")
    page.fill("#cap_cap", "500")
    page.click("#cap button")
    page.wait_for_selector("text=The cap holds from now on")
    page.click("text=Save a card")
    look_at(page, f"sandbox-card-{look}")
    page.click("button[value=approve]")
    page.fill("#automatic_below", "0.01")
    page.fill("#automatic_amount", "5")
    page.fill("#automatic_ceiling", "20")
    look_at(page, f"spending-card-{look}")
    page.click("#automatic .settings button")
    look_at(page, f"spending-consent-{look}")
    page.click("text=I agree")
    page.wait_for_selector("text=Automatic top-up is on")
    look_at(page, f"spending-on-{look}")
    page.click("text=Remove card")
    page.wait_for_selector("text=The card is removed")
    page.fill("#cap_cap", "")
    page.click("#cap button")
    page.wait_for_selector("text=There is no cap")


def test_the_first_page_is_under_100_kb_and_stays_on_this_host(browse, stack):
    page = browse()
    responses = []
    page.on("response", lambda response: responses.append(response))  # noqa: PLW0108  Playwright wraps it
    page.goto("/", wait_until="networkidle")
    assert {response.url.split("/")[2] for response in responses} == {stack.url.split("/")[2]}
    sizes = {response.url: response.request.sizes()["responseBodySize"] for response in responses}
    assert sum(sizes.values()) < 100_000, sizes


def test_the_keyboard_alone_sends_and_stops(browse):
    page = browse()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.tagName") != "BODY"
    page.focus("#prompt")
    page.keyboard.type("First line")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("second line")
    page.keyboard.press("Enter")
    page.wait_for_selector(".turn.it")
    assert page.locator(".turn.me .words").text_content() == "First line\nsecond line"
    page.wait_for_selector("[data-stop]")
    page.keyboard.press("Escape")
    receipt_of(page.locator(".turn.it").last)
