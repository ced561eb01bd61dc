"""API keys in a real browser: phone and desktop, light and dark, and without scripts."""

import re

import pytest

from accounts import api_keys
from accounts.models import ApiKey
from tests.accounts.pages.settings.looks import LOOKS, NO_SCRIPT, name_of
from tests.e2e.looking import look_at
from tests.support.cast import CREDIT, PASSWORD

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume"),  # WhiteNoise's files, as in config.asgi
]


def make_key(page):
    """From the list to the text, with the password on the way."""
    page.click("text=New key")
    page.fill("[name=password]", PASSWORD)
    page.click("button[type=submit]:has-text('Confirm')")
    page.fill("[name=name]", "Nightly import")
    page.fill("[name=cap]", "20")
    page.click("text=Make the key")
    page.wait_for_selector("#key-text")
    return page.inner_text("#key-text code")


@pytest.mark.parametrize("look", LOOKS, ids=name_of)
def test_a_key_is_made_changed_and_revoked(open_page, alice, look):
    api_keys.create_key(user=alice, name="Notebook " + "x" * 40, scopes=["chat"], monthly_cap_microcredits=CREDIT)
    page = open_page(alice, "/settings/keys/", **look)
    look_at(page, f"keys-{name_of(look)}")
    text = make_key(page)
    assert re.fullmatch(r"tly_\w{10}_\w{43}", text)
    look_at(page, f"key-made-{name_of(look)}")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("button:has-text('Copy')")
    page.wait_for_function("async text => await navigator.clipboard.readText() === text", arg=text)
    page.click("text=I have kept it")
    page.click("a:has-text('Nightly import')")
    look_at(page, f"key-{name_of(look)}")
    page.fill("[name=name]", "Weekly import")
    page.click("button:has-text('Save')")
    page.wait_for_selector(".toast:has-text('Saved')")
    look_at(page, f"keys-saved-{name_of(look)}")
    page.click("a:has-text('Weekly import')")
    page.click("a:has-text('Rotate')")
    look_at(page, f"key-rotate-{name_of(look)}")
    page.click("button:has-text('Rotate')")
    assert page.inner_text("#key-text code") != text
    page.click("text=I have kept it")
    page.click("[aria-label='Revoke Weekly import']")
    look_at(page, f"key-revoke-{name_of(look)}")
    page.click("button:has-text('Revoke')")
    page.wait_for_selector(".toast:has-text('revoked')")
    assert page.locator("tbody tr").count() == 1
    page.set_viewport_size({"width": 320, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_key_is_made_without_scripts(open_page, alice):
    page = open_page(alice, "/settings/keys/", **NO_SCRIPT)
    assert make_key(page).startswith("tly_")
    assert not page.is_visible("button:has-text('Copy')")
    page.reload()
    assert ApiKey.objects.count() == 1
