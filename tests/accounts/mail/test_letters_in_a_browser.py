"""A mail as a browser shows it: on a phone and on a desktop, light and dark, without a connection."""

import pytest
from django.utils import translation

from accounts.mail.letters import write_html
from tests.chat.conftest import _queries_beside_playwright  # noqa: F401  a fixture
from tests.e2e.looking import look_at

pytestmark = pytest.mark.usefixtures("_queries_beside_playwright")
TEXT = """Das Archiv ist fertig. Der Link gilt 7 Tage.
http://127.0.0.1:8000/settings/archive/0f8fad5b-d9cb-469f-a165-70867728950e-0f8fad5b-d9cb-469f-a165-70867728950e/

Wenn Sie das nicht waren, setzen Sie sofort ein neues Passwort.
http://127.0.0.1:8000/accounts/password/reset/"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1000])
def test_a_mail_fits_a_phone_and_is_read_in_the_dark(chromium, settings, scheme, width):
    settings.PUBLIC_URL = "http://127.0.0.1:8000"
    with translation.override("de"):
        html = write_html(subject="Ihre Daten sind bereit", text=TEXT)
    context = chromium.new_context(viewport={"width": width, "height": 700}, color_scheme=scheme, offline=True)
    try:
        page = context.new_page()
        page.set_content(html)
        look_at(page, f"mail-{scheme}-{width}")
        ground = page.eval_on_selector("body", "body => getComputedStyle(body).backgroundColor")
        assert (ground == "rgb(23, 22, 19)") == (scheme == "dark")
    finally:
        context.close()
