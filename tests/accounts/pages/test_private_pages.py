"""What a browser may keep, where mailed links lead and how long they hold."""

import re
from datetime import timedelta

import pytest
from allauth.account.app_settings import PASSWORD_RESET_TOKEN_GENERATOR
from django.conf import settings
from django.urls import reverse
from django.utils import timezone

from accounts.models import OutgoingMail
from tests.support.cast import PASSWORD, answered_talk

NEW = {"email": "new@example.com", "password1": "a-Long-passphrase-1", "password2": "a-Long-passphrase-1"}
ELSEWHERE = "localhost:6666"


@pytest.mark.parametrize(
    "name",
    ["chat:home", "billing:overview", "billing:buy", "billing:usage", "billing:spending", "billing:statements",
     "account_email", "account_change_password", "account_reauthenticate", "account_logout"],
)  # fmt: skip
def test_private_pages_are_kept_by_nobody(client, alice, name):
    client.force_login(alice)
    page = client.get(reverse(name))
    assert page.status_code == 200
    assert "no-store" in page["Cache-Control"]


def test_a_conversation_and_its_export_are_kept_by_nobody(client, alice, catalogue):
    talk = answered_talk(alice, catalogue)
    client.force_login(alice)
    for path in (reverse("chat:conversation", args=[talk.pk]), reverse("billing:export_csv")):
        assert "no-store" in client.get(path)["Cache-Control"], path


def test_an_error_page_of_somebody_is_kept_by_nobody(client, alice):
    client.force_login(alice)
    missing = client.get("/c/6f6dbf7a-0000-4000-8000-000000000000/")
    assert missing.status_code == 404
    assert "no-store" in missing["Cache-Control"]


@pytest.mark.parametrize("path", ["/credits/who-pays/", "/static/tally.css", "/api/v1/models"])
def test_public_pages_and_files_may_be_kept(client, catalogue, path):
    answer = client.get(path)
    answer.close()
    assert answer.status_code in (200, 401)
    assert "no-store" not in answer.headers.get("Cache-Control", "")


def links_and_hosts():
    """The texts of all mails that wait, and the addresses in them."""
    texts = " ".join(OutgoingMail.objects.values_list("text", flat=True))
    return texts, {link.rstrip(".") for link in re.findall(r"https?://[^/\s]+", texts)}


def test_no_mail_leads_to_where_a_stranger_says(client, api, alice, catalogue, settings):
    settings.PUBLIC_URL = "https://tally.example.com"
    client.post(reverse("account_reset_password"), {"email": alice.email}, HTTP_HOST=ELSEWHERE)
    client.post(reverse("account_reset_password"), {"email": "nobody@example.com"}, HTTP_HOST=ELSEWHERE)
    client.post(reverse("account_signup"), NEW, HTTP_HOST=ELSEWHERE)
    client.post(reverse("account_signup"), NEW | {"email": alice.email}, HTTP_HOST=ELSEWHERE)
    other = {"email": "other@example.com", "password": "a-Long-passphrase-1"}
    api.post("/api/v1/auth/register", other, HTTP_HOST=ELSEWHERE)
    api.post("/api/v1/auth/register", other | {"email": alice.email}, HTTP_HOST=ELSEWHERE)
    api.post("/api/v1/auth/password/reset", {"email": alice.email}, HTTP_HOST=ELSEWHERE)
    assert OutgoingMail.objects.count() == 6  # one address gets the same hint once in three minutes
    texts, hosts = links_and_hosts()
    assert hosts == {"https://tally.example.com"}
    assert "6666" not in texts
    assert "localhost" not in texts


@pytest.mark.parametrize(("hours", "holds"), [(0.9, True), (2.1, False)])
def test_a_reset_link_holds_for_two_hours(api, alice, monkeypatch, hours, holds):
    api.post("/api/v1/auth/password/reset", {"email": alice.email})
    key = re.search(r"/reset/key/([^/\s]+)/", OutgoingMail.objects.get().text).group(1)
    later = timezone.now().replace(tzinfo=None) + timedelta(hours=hours)
    monkeypatch.setattr(PASSWORD_RESET_TOKEN_GENERATOR, "_now", lambda _self: later)
    answer = api.post("/api/v1/auth/password/reset/confirm", {"key": key, "password": "another-Long-passphrase-2"})
    assert (answer.status_code == 204) == holds
    alice.refresh_from_db()
    assert alice.check_password(PASSWORD) != holds
    assert settings.PASSWORD_RESET_TIMEOUT <= 7200
