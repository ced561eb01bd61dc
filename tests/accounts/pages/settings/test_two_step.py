"""The second factor: set up, asked for at every log-in, limited, and lost with recovery codes in hand."""

import pytest
from allauth.mfa.models import Authenticator
from django.core.cache import cache
from django.test import Client
from django.urls import reverse

from accounts.login import second_factor
from accounts.models import ApiSession, AuditEvent
from tests.accounts.pages.settings.looks import code_of
from tests.support.cast import PASSWORD
from tests.support.databases.redis_admin import admin
from tests.support.mailbox import read_mails

ACTIVATE, INDEX = reverse("mfa_activate_totp"), reverse("mfa_index")
LOGIN = {"login": "alice@example.com", "password": PASSWORD}
TOKEN = {"email": "alice@example.com", "password": PASSWORD}


@pytest.fixture
def app(confirmed, alice):
    """The secret of alice's app, which she has set up."""
    client = confirmed(alice)
    secret = client.get(ACTIVATE).context["form"].secret
    answer = client.post(ACTIVATE, {"code": code_of(secret, -1)})
    assert answer.url == reverse("mfa_view_recovery_codes")
    alice.browser = client
    return secret


def log_in(**more):
    client = Client()
    return client, client.post(reverse("account_login"), LOGIN, **more)


def is_in(client):
    return client.get("/settings/signing-in/").status_code == 200


@pytest.mark.django_db(transaction=True)  # allauth mails and signals after the commit
def test_an_app_is_set_up_and_its_secret_is_kept_encrypted(app, alice):
    kept = Authenticator.objects.get(type="totp").data["secret"]
    assert app not in kept
    assert second_factor.MfaAdapter().decrypt(kept) == app
    page = alice.browser.get("/settings/signing-in/").content.decode()
    assert "10 of 10 recovery codes left" in page
    assert [mail.subject for mail in read_mails()] == ["An authenticator app was set up"]
    actions = AuditEvent.objects.order_by("pk").values_list("action", "details__kind")
    assert list(actions) == [("second factor added", "totp"), ("second factor added", "recovery_codes")]


def test_setting_up_wants_the_password_and_a_right_code(client, confirmed, alice):
    client.force_login(alice)
    assert client.get(ACTIVATE).url.startswith(reverse("account_reauthenticate"))
    browser = confirmed(alice)
    browser.get(ACTIVATE)
    refused = browser.post(ACTIVATE, {"code": "000000"})
    assert "This code is wrong" in refused.content.decode()
    assert Authenticator.objects.count() == 0


def test_the_password_alone_logs_nobody_in(app):
    client, answer = log_in()
    assert answer.url == reverse("mfa_authenticate")
    assert not is_in(client)
    wrong = client.post(answer.url, {"code": "000000"})
    assert "This code is wrong" in wrong.content.decode()
    assert not is_in(client)
    client.post(answer.url, {"code": code_of(app)})
    assert is_in(client)


def test_a_code_opens_once(app):
    first, answer = log_in()
    code = code_of(app)
    first.post(answer.url, {"code": code})
    second, _answer = log_in()
    assert "This code is wrong" in second.post(answer.url, {"code": code}).content.decode()
    assert not is_in(second)


def test_a_code_opens_once_for_as_long_as_it_is_right(app):
    """allauth forgets a used code after half a minute, when it is still right."""
    first, answer = log_in()
    code = code_of(app)
    first.post(answer.url, {"code": code})
    assert is_in(first)
    assert cache.delete(Authenticator.objects.get(type="totp").wrap()._get_used_cache_key(code))
    second, _answer = log_in()
    assert "was used before" in second.post(answer.url, {"code": code}).content.decode()
    assert not is_in(second)
    assert Client().post("/api/v1/auth/token", TOKEN | {"code": code}, "application/json").status_code == 401


def test_a_recovery_code_opens_once(app):
    code = Authenticator.objects.get(type="recovery_codes").wrap().get_unused_codes()[0]
    first, answer = log_in()
    first.post(answer.url, {"code": code})
    assert is_in(first)
    assert "9 of 10 recovery codes left" in first.get("/settings/signing-in/").content.decode()
    second, _answer = log_in()
    second.post(answer.url, {"code": code})
    assert not is_in(second)


def test_ten_wrong_codes_are_limited_say_so_and_are_mailed_once(app):
    read_mails().clear()
    client, answer = log_in()
    pages = [client.post(answer.url, {"code": "000000"}).content.decode() for _try in range(10)]
    assert "This code is wrong" in pages[0]
    assert "Too many tries. Wait" in pages[-1]
    client.post(answer.url, {"code": code_of(app)})
    assert not is_in(client)
    assert [mail.subject for mail in read_mails()] == ["Somebody has your password"]
    admin().flushdb()  # as if the time had passed
    again, _answer = log_in()
    again.post(answer.url, {"code": code_of(app)})
    assert is_in(again)


def test_the_api_wants_the_code_too(app, api):
    refused = api.post("/api/v1/auth/token", TOKEN)
    assert (refused.status_code, refused.json()["code"]) == (403, "second_factor_required")
    wrong = api.post("/api/v1/auth/token", TOKEN | {"code": "000000"})
    assert (wrong.status_code, wrong.json()["code"]) == (401, "wrong_code")
    assert ApiSession.objects.count() == 0
    code = code_of(app)
    token = api.post("/api/v1/auth/token", TOKEN | {"code": code}).json()["access"]
    assert api.bearer(token).get("/api/v1/me").status_code == 200
    assert api.post("/api/v1/auth/token", TOKEN | {"code": code}).json()["code"] == "wrong_code"
    recovery = Authenticator.objects.get(type="recovery_codes").wrap().get_unused_codes()[0]
    assert api.post("/api/v1/auth/token", TOKEN | {"code": recovery}).status_code == 200


def test_the_api_does_not_say_that_there_is_a_second_factor_to_a_wrong_password(app, api):
    answer = api.post("/api/v1/auth/token", TOKEN | {"password": "wrong"})
    assert answer.json()["code"] == "wrong_credentials"


def test_wrong_codes_at_the_api_and_on_the_pages_are_counted_together(app, api):
    for _try in range(5):
        api.post("/api/v1/auth/token", TOKEN | {"code": "000000"})
    assert api.post("/api/v1/auth/token", TOKEN | {"code": code_of(app)}).status_code == 429
    client, answer = log_in()
    assert "Too many tries" in client.post(answer.url, {"code": code_of(app)}).content.decode()
    assert not is_in(client)


def test_without_a_second_factor_a_code_changes_nothing(alice, api):
    assert api.post("/api/v1/auth/token", TOKEN | {"code": "1"}).status_code == 200


def test_it_is_turned_off_with_its_recovery_codes(app, alice, api):
    page = alice.browser.get(reverse("mfa_deactivate_totp"))
    assert "Turn off the app?" in page.content.decode()
    assert alice.browser.post(reverse("mfa_deactivate_totp")).url == INDEX
    assert Authenticator.objects.count() == 0
    assert alice.browser.post(reverse("mfa_deactivate_totp")).status_code == 404
    client, _answer = log_in()
    assert is_in(client)
    assert "The authenticator app was turned off" in [mail.subject for mail in read_mails()]


@pytest.mark.django_db(transaction=True)
def test_new_recovery_codes_replace_the_old_ones(app, alice):
    old = Authenticator.objects.get(type="recovery_codes").wrap().get_unused_codes()
    assert old[0] in alice.browser.get(reverse("mfa_view_recovery_codes")).content.decode()
    alice.browser.post(reverse("mfa_generate_recovery_codes"))
    new = Authenticator.objects.get(type="recovery_codes").wrap().get_unused_codes()
    assert not set(old) & set(new)
    assert AuditEvent.objects.filter(action="recovery codes replaced").exists()


def test_a_new_password_by_mail_leaves_the_second_factor(app, api, alice):
    api.post("/api/v1/auth/password/reset", {"email": alice.email})
    key = read_mails()[-1].body.partition("/reset/key/")[2].partition("/")[0]
    new = "another-Long-passphrase-2"
    assert api.post("/api/v1/auth/password/reset/confirm", {"key": key, "password": new}).status_code == 204
    assert api.post("/api/v1/auth/token", TOKEN | {"password": new}).json()["code"] == "second_factor_required"


def test_secrets_survive_a_replaced_secret_key(app, settings):
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another, and as long as a signature of SHA-256 wants it to be"
    assert second_factor.renew_secrets() == 2
    assert second_factor.renew_secrets() == 0
    settings.SECRET_KEY_FALLBACKS = []
    assert second_factor.MfaAdapter().decrypt(Authenticator.objects.get(type="totp").data["secret"]) == app


def test_while_redis_is_away_no_code_is_believed(app, api, monkeypatch):
    monkeypatch.setattr(cache, "add", lambda *_words, **_more: False)  # what the cache says then
    assert api.post("/api/v1/auth/token", TOKEN | {"code": code_of(app)}).status_code == 503
    assert ApiSession.objects.count() == 0


def test_somebody_elses_passkey_is_not_there(confirmed, alice, charlie):
    passkey = Authenticator.objects.create(user=alice, type="webauthn", data={"name": "Hers", "credential": {}})
    client = confirmed(charlie)
    for name in ("mfa_edit_webauthn", "mfa_remove_webauthn"):
        assert client.get(reverse(name, args=[passkey.pk])).status_code == 404
        assert client.post(reverse(name, args=[passkey.pk]), {"name": "Mine"}).status_code == 404
    assert Authenticator.objects.get(user=alice).data["name"] == "Hers"


def test_the_page_asks_little(app, alice, django_assert_num_queries):
    with django_assert_num_queries(6):  # the side bar's two; session, user, addresses, factors
        alice.browser.get("/settings/signing-in/")
