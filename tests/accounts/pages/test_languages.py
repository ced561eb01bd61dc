"""In which language a page is: the address's, else the customer's own, else the cookie's, else the browser's."""

import re

import pytest
from django.conf import settings
from django.urls import reverse
from django.utils import translation
from django.utils.translation import gettext

from accounts.mail.security_notices import tell_of_wrong_codes
from accounts.models import OutgoingMail
from accounts.profile import change_profile
from billing.notices.notices import notify
from core.rest import docs

GERMAN = {"HTTP_ACCEPT_LANGUAGE": "de-DE,de;q=0.9,en;q=0.8"}
PUBLIC = ["/pricing/", "/status/", "/terms/", "/privacy/"]


@pytest.fixture(autouse=True)
def _texts(settings):
    settings.TERMS, settings.PRIVACY = "Only ours.", "Only ours."


def language_of(page):
    """What the page says of itself, in its markup and in its header."""
    [language] = re.findall(r'<html lang="([a-z]+)"', page.content.decode())
    assert page["Content-Language"] == language
    return language


def is_shared(page):
    return "public" in page.get("Cache-Control", "")


@pytest.mark.parametrize(("accepted", "language"), [("de", "de"), ("de-AT", "de"), ("en", "en"), ("fr", "en")])
def test_a_stranger_reads_the_language_of_the_browser(client, catalogue, accepted, language):
    for path in ("/", "/accounts/login/", *PUBLIC):
        assert language_of(client.get(path, HTTP_ACCEPT_LANGUAGE=accepted)) == language, path


@pytest.mark.parametrize("path", PUBLIC)
@pytest.mark.parametrize("language", ["en", "de"])
def test_caches_share_a_page_only_where_its_address_names_the_language(client, alice, path, language):
    client.cookies[settings.LANGUAGE_COOKIE_NAME] = "de" if language == "en" else "en"
    page = client.get(path, {"lang": language}, HTTP_ACCEPT_LANGUAGE="de" if language == "en" else "en")
    assert (language_of(page), is_shared(page)) == (language, True)
    assert not page.cookies
    assert "Cookie" not in page.get("Vary", "")
    for unnamed in (path, f"{path}?lang=fr", f"{path}?lang="):
        page = client.get(unnamed)
        assert not is_shared(page), unnamed
        assert "private" in page["Cache-Control"]
        assert not page.cookies


def test_the_browsers_copy_of_a_page_does_not_outlive_a_change_of_language(client, catalogue):
    english = client.get("/pricing/", HTTP_ACCEPT_LANGUAGE="en")
    again = client.get("/pricing/", headers={"If-None-Match": english["ETag"]}, **GERMAN)
    assert (again.status_code, language_of(again)) == (200, "de")


@pytest.mark.parametrize("language", ["en", "de"])
def test_links_between_public_pages_keep_the_language(client, catalogue, language):
    for path in ("/", *PUBLIC):
        body = client.get(path, {"lang": language}).content.decode()
        for other in PUBLIC:
            assert set(re.findall(rf'href="{other}([^"]*)"', body)) == {f"?lang={language}"}, (path, other)


def test_a_language_that_an_address_names_is_remembered_and_the_next_address_kept(client, catalogue):
    page = client.get("/accounts/login/?lang=de&next=/credits/")
    assert language_of(page) == "de"
    assert 'href="?lang=en&amp;next=%2Fcredits%2F"' in page.content.decode()
    cookie = page.cookies[settings.LANGUAGE_COOKIE_NAME]
    assert (cookie.value, cookie["samesite"], cookie["httponly"]) == ("de", "Lax", True)
    assert language_of(client.get("/accounts/signup/", HTTP_ACCEPT_LANGUAGE="en")) == "de"
    assert not client.get("/accounts/login/?lang=de").cookies.get(settings.LANGUAGE_COOKIE_NAME)  # it has it


def test_a_customer_changes_the_language_in_the_account_menu_and_stays_on_the_page(client, alice):
    client.force_login(alice)
    path = reverse("billing:usage")
    assert '<button type="submit" name="language" value="de" lang="de">' in client.get(path).content.decode()
    answer = client.post(reverse("choose_language"), {"language": "de", "next": path})
    assert (answer.status_code, answer["Location"]) == (302, path)
    assert language_of(client.get(path)) == "de"
    elsewhere = client.post(reverse("choose_language"), {"language": "en", "next": "https://evil.example/"})
    assert "evil" not in elsewhere["Location"]


def test_nobody_elses_page_changes_the_language_of_a_customer(alice):
    from django.test import Client

    careful = Client(enforce_csrf_checks=True)
    careful.force_login(alice)
    assert careful.post(reverse("choose_language"), {"language": "de"}).status_code == 403


def test_the_customers_own_language_comes_before_cookie_and_browser(client, alice):
    change_profile(user=alice, language="de")
    client.cookies[settings.LANGUAGE_COOKIE_NAME] = "en"
    assert language_of(client.get("/accounts/login/")) == "en"  # nobody is logged in
    client.force_login(alice)
    assert language_of(client.get(reverse("billing:overview"))) == "de"
    assert language_of(client.get(reverse("billing:overview"), {"lang": "en"})) == "en"
    change_profile(user=alice, language="xx")  # one that Tally does not speak any more
    assert language_of(client.get(reverse("billing:overview"))) == "en"


def test_the_api_explains_in_the_language_that_a_client_accepts_and_sets_no_cookie(client, catalogue):
    said = client.get("/api/v1/wallet?lang=en", **GERMAN)
    assert not said.cookies
    assert said.status_code == 401
    login = {"email": "nobody@example.com", "password": "wrong"}
    german = client.post("/api/v1/auth/token", login, content_type="application/json", **GERMAN)
    english = client.post("/api/v1/auth/token", login, content_type="application/json")
    assert german.json()["detail"] == "Die E-Mail-Adresse oder das Passwort ist falsch."
    assert english.json()["detail"] == "The e-mail address or the password is wrong."


def test_the_documentation_of_the_api_is_english_whoever_asks_first(client, db):
    docs._render_schema.cache_clear()
    first = client.get(reverse("api:schema"), **GERMAN).content.decode()
    assert "waiting for payment" in first
    assert "wartet auf Zahlung" not in first


def test_a_mail_is_in_the_language_of_the_page_that_sends_it(client, alice):
    client.post(reverse("account_reset_password"), {"email": alice.email}, **GERMAN)
    assert "ein neues Passwort für Ihr Konto" in OutgoingMail.objects.get().text


def test_the_menu_keeps_the_language_with_the_account(client, alice):
    client.force_login(alice)
    assert client.post("/language/", {"language": "de", "next": "/credits/"})["Location"] == "/credits/"
    alice.refresh_from_db()
    assert alice.language == "de"
    client.cookies.pop(settings.LANGUAGE_COOKIE_NAME)  # another browser, which has no cookie
    assert language_of(client.get("/credits/")) == "de"
    client.post("/language/", {"language": "en", "next": "/credits/"})
    assert language_of(client.get("/credits/")) == "en"
    client.post("/language/", {"language": "xx", "next": "/credits/"})
    alice.refresh_from_db()
    assert alice.language == "en"


def test_workers_write_to_a_customer_in_the_customers_language(alice):
    change_profile(user=alice, language="de")
    tell_of_wrong_codes(user=alice)
    notify(user_id=alice.pk, name="low_balance", path="/credits/", available="1.00", below="5.00")
    subjects = list(OutgoingMail.objects.order_by("pk").values_list("subject", flat=True))
    with translation.override("de"):
        assert subjects[0] == gettext("Somebody has your password") != "Somebody has your password"
    assert "Guthaben" in subjects[1]
