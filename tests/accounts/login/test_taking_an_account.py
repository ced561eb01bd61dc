"""A session alone does not take an account, and its owner hears of whatever changes it."""

from datetime import timedelta

import pytest
from allauth.account.models import EmailAddress
from django.urls import reverse
from django.utils import timezone

from accounts.models import ApiKey, ApiSession, OutgoingMail, User
from tests.support.cast import PASSWORD

NEW_PASSWORD = "another-Long-passphrase-2"
ALICE = {"email": "alice@example.com", "password": PASSWORD}
LOGIN = {"login": "alice@example.com", "password": PASSWORD}


def mails():
    """Of each mail that waits: to whom, and what about."""
    return [(mail.recipients[0], mail.subject) for mail in OutgoingMail.objects.order_by("pk")]


def confirm(client):
    """Type the password again."""
    return client.post(reverse("account_reauthenticate"), {"password": PASSWORD})


@pytest.mark.parametrize(
    "change",
    [
        {"action_add": "", "email": "thief@example.com"},
        {"action_remove": "", "email": "second@example.com"},
        {"action_primary": "", "email": "second@example.com"},
    ],
)
def test_addresses_change_with_the_password_alone(client, alice, change):
    EmailAddress.objects.create(user=alice, email="second@example.com", verified=True)
    before = list(alice.emailaddress_set.order_by("pk").values_list("email", "primary"))
    client.force_login(alice)
    answer = client.post(reverse("account_email"), change)
    assert answer["Location"].startswith(reverse("account_reauthenticate"))
    assert list(alice.emailaddress_set.order_by("pk").values_list("email", "primary")) == before
    confirm(client)
    client.post(reverse("account_email"), change)
    assert list(alice.emailaddress_set.order_by("pk").values_list("email", "primary")) != before


def test_guessing_that_password_shuts_the_door(client, alice, one_minute):
    client.force_login(alice)
    for _ in range(5):
        client.post(reverse("account_reauthenticate"), {"password": "wrong"})
    assert "Too many tries" in confirm(client).content.decode()


def test_the_owner_hears_of_a_new_address_and_of_its_removal(client, alice):
    client.force_login(alice)
    confirm(client)
    client.post(reverse("account_email"), {"action_add": "", "email": "thief@example.com"})
    assert ("alice@example.com", "An e-mail address was added to your account") in mails()
    client.post(reverse("account_email"), {"action_remove": "", "email": "thief@example.com"})
    assert any(to == "alice@example.com" and "emoved" in subject for to, subject in mails())


def test_the_old_address_hears_of_a_change_of_address(client, alice):
    EmailAddress.objects.create(user=alice, email="second@example.com", verified=True)
    client.force_login(alice)
    confirm(client)
    client.post(reverse("account_email"), {"action_primary": "", "email": "second@example.com"})
    assert [to for to, subject in mails() if "hanged" in subject] == ["alice@example.com"]


def test_a_verified_address_that_is_removed_hears_of_it_too(client, alice):
    EmailAddress.objects.create(user=alice, email="second@example.com", verified=True)
    client.force_login(alice)
    confirm(client)
    client.post(reverse("account_email"), {"action_remove": "", "email": "second@example.com"})
    assert {to for to, _subject in mails()} == {"alice@example.com", "second@example.com"}


def test_the_owner_hears_of_a_new_password_on_the_pages(client, alice):
    client.force_login(alice)
    fields = {"oldpassword": PASSWORD, "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    client.post(reverse("account_change_password"), fields)
    assert [to for to, subject in mails() if "assword" in subject] == ["alice@example.com"]


def test_the_owner_hears_of_a_new_password_by_the_api(api, login, alice):
    body = {"current_password": PASSWORD, "password": NEW_PASSWORD}
    login(alice).post("/api/v1/auth/password/change", body)
    assert [to for to, subject in mails() if "assword" in subject] == ["alice@example.com"]


def test_the_owner_hears_of_a_reset_by_the_api(api, alice):
    api.post("/api/v1/auth/password/reset", {"email": alice.email})
    key = OutgoingMail.objects.get().text.partition("/reset/key/")[2].partition("/")[0]
    api.post("/api/v1/auth/password/reset/confirm", {"key": key, "password": NEW_PASSWORD})
    assert len(mails()) == 2


def test_a_change_and_its_notice_are_one_transaction(client, alice, monkeypatch):
    """Without the mail there is no change."""
    monkeypatch.setattr("accounts.mail.outbox._write", lambda _message: 1 / 0)
    client.force_login(alice)
    fields = {"oldpassword": PASSWORD, "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    with pytest.raises(ZeroDivisionError):
        client.post(reverse("account_change_password"), fields)
    alice.refresh_from_db()
    assert alice.check_password(PASSWORD)


def test_the_owner_hears_of_keys(login, alice):
    client = login(alice)
    key = client.post("/api/v1/keys", {"name": "mine", "scopes": ["chat"]}).json()
    assert mails() == [("alice@example.com", "An API key was made")]
    assert "mine" in OutgoingMail.objects.get().text
    assert key["key"] not in OutgoingMail.objects.get().text
    client.patch(f"/api/v1/keys/{key['id']}", {"name": "still mine"})  # which changes nothing that it may do
    client.patch(f"/api/v1/keys/{key['id']}", {"scopes": ["chat", "billing:read"]})
    rotated = client.post(f"/api/v1/keys/{key['id']}/rotate", {}).json()
    client.delete(f"/api/v1/keys/{key['id']}")
    client.delete(f"/api/v1/keys/{key['id']}")
    told = ["An API key was changed", "An API key got another text", "An API key was revoked"]
    assert mails()[1:] == [("alice@example.com", subject) for subject in told]
    texts = OutgoingMail.objects.order_by("pk").values_list("text", flat=True)
    assert all("still mine" in text and rotated["key"] not in text for text in list(texts)[1:])


def test_an_older_log_in_makes_and_revokes_keys_with_the_password_alone(login, with_key, alice):
    client, key = login(alice), with_key(alice).key
    ApiSession.objects.update(created_at=timezone.now() - timedelta(seconds=301))
    body = {"name": "mine", "scopes": ["chat"]}
    path = f"/api/v1/keys/{key.pk}"
    for answer in (client.post("/api/v1/keys", body), client.delete(path)):
        assert (answer.status_code, answer.json()["code"]) == (403, "password_required")
    for answer in (client.post("/api/v1/keys", body | {"password": "x"}), client.delete(path, {"password": "x"})):
        assert (answer.status_code, list(answer.json()["errors"])) == (422, ["password"])
    assert ApiKey.objects.live().count() == 1
    assert client.post("/api/v1/keys", body | {"password": PASSWORD}).status_code == 201
    assert client.delete(path, {"password": PASSWORD}).status_code == 204


def test_a_refresh_makes_a_log_in_no_younger(login, api, alice):
    tokens = login(alice).tokens
    ApiSession.objects.update(created_at=timezone.now() - timedelta(seconds=301))
    fresh = api.post("/api/v1/auth/token/refresh", {"refresh": tokens.refresh}).json()
    answer = api.bearer(fresh["access"]).post("/api/v1/keys", {"name": "mine", "scopes": ["chat"]})
    assert answer.json()["code"] == "password_required"


def news_of_log_ins():
    return [to for to, subject in mails() if "log-in" in subject]


def test_the_owner_hears_of_a_log_in_from_a_new_device(client, client_elsewhere, alice):
    client.post(reverse("account_login"), LOGIN)
    assert news_of_log_ins() == []  # the first log-in of all
    client.post(reverse("account_logout"))
    client.post(reverse("account_login"), LOGIN)
    assert news_of_log_ins() == []  # the device is known
    client_elsewhere.post(reverse("account_login"), LOGIN, HTTP_USER_AGENT="Strange/1.0")
    assert news_of_log_ins() == ["alice@example.com"]
    assert "Strange/1.0" in OutgoingMail.objects.last().text
    client_elsewhere.post(reverse("account_logout"))
    client_elsewhere.post(reverse("account_login"), LOGIN)
    assert news_of_log_ins() == ["alice@example.com"]


def test_a_device_is_known_to_those_who_logged_in_on_it(client, alice, bob):
    client.post(reverse("account_login"), LOGIN)
    client.post(reverse("account_logout"))
    User.objects.filter(pk=bob.pk).update(last_login=timezone.now())
    client.post(reverse("account_login"), LOGIN | {"login": "bob@example.com"})
    assert news_of_log_ins() == ["bob@example.com"]


def test_a_forged_device_is_a_new_one(client, client_elsewhere, alice):
    client.post(reverse("account_login"), LOGIN)
    client_elsewhere.cookies["tally_device"] = client.cookies["tally_device"].value + "x"
    client_elsewhere.post(reverse("account_login"), LOGIN)
    assert news_of_log_ins() == ["alice@example.com"]
    cookie = client.cookies["tally_device"]
    assert (cookie["httponly"], cookie["samesite"], cookie["max-age"] > 86_400 * 180) == (True, "Lax", True)


def test_the_owner_hears_of_a_new_device_by_the_api(api, alice):
    def log_in(agent, address):
        return api.post("/api/v1/auth/token", ALICE, HTTP_USER_AGENT=agent, REMOTE_ADDR=address)

    log_in("program/1", "2001:db8:1:2::1")
    log_in("program/1", "2001:db8:1:2::2")
    assert news_of_log_ins() == []
    answer = log_in("program/1", "2001:db8:1:3::1")
    assert (answer.status_code, answer.cookies) == (200, {})
    log_in("program/2", "2001:db8:1:2::1")
    assert news_of_log_ins() == ["alice@example.com"] * 2
