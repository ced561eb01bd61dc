"""The list of log-ins in a real browser, and what the browser that was logged out sees."""

import pytest
from django.urls import reverse

from tests.accounts.pages.settings.looks import LOOKS, NO_SCRIPT, name_of
from tests.e2e.looking import look_at
from tests.support.cast import PASSWORD

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume"),  # WhiteNoise's files, as in config.asgi
]
PAGE = "/settings/devices/"


@pytest.mark.parametrize("look", LOOKS, ids=name_of)
def test_a_stranger_is_logged_out_and_meets_the_log_in(open_page, alice, api, look):
    api.post("/api/v1/auth/token", {"email": alice.email, "password": PASSWORD}, HTTP_USER_AGENT="curl/8.5 " + "x" * 90)
    thief = open_page(alice, PAGE, user_agent="Mozilla/5.0 (Windows NT 10.0) Chrome/124.0 Safari/537.36")
    page = open_page(alice, PAGE, **look)
    look_at(page, f"devices-{name_of(look)}")
    page.click("[aria-label='Revoke Chrome on Windows']")
    page.wait_for_selector(".toast:has-text('logged out')")
    look_at(page, f"devices-revoked-{name_of(look)}")
    thief.reload()
    assert thief.url.split("?")[0].endswith(reverse("account_login"))
    page.click("text=Sign out elsewhere")
    page.wait_for_selector(".toast:has-text('Everything else')")
    assert page.locator(".line").count() == 1


def test_everything_works_without_scripts(open_page, alice):
    open_page(alice, PAGE)
    page = open_page(alice, PAGE, **NO_SCRIPT)
    page.click("button:has-text('Revoke')")
    assert page.locator(".line").count() == 1
