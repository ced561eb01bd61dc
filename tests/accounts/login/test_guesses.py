"""Strangers who guess do not shut the owner out: a known device has a counter of its own, and a mailed link opens."""

import re

import pytest
from allauth.account.models import EmailAddress
from django.core.exceptions import ValidationError
from django.urls import reverse

from accounts.login.guesses import open_for_user
from accounts.models import OutgoingMail, User
from tests.support.cast import PASSWORD

ALICE = {"email": "alice@example.com", "password": PASSWORD}
LOGIN = {"login": "alice@example.com", "password": PASSWORD}
SUBJECT = "Somebody tries passwords at your account"


@pytest.fixture(autouse=True)
def _minute(one_minute):
    """No window ends in the middle of a test."""


def guess(api, times=6, **options):
    for _ in range(times):
        api.post("/api/v1/auth/token", ALICE | {"password": "wrong"}, **options)


def is_in(client):
    return client.get(reverse("billing:overview")).status_code == 200


def mailed_links():
    return [
        re.search(r"http\S+(/accounts/open/\S+)", mail.text).group(1)
        for mail in OutgoingMail.objects.filter(subject=SUBJECT).order_by("pk")
    ]


def test_a_known_device_is_not_locked_out_by_strangers(api, client, client_elsewhere, alice):
    client.post(reverse("account_login"), LOGIN)
    client.post(reverse("account_logout"))
    guess(api)
    client_elsewhere.post(reverse("account_login"), LOGIN)
    assert not is_in(client_elsewhere)
    client.post(reverse("account_login"), LOGIN)
    assert is_in(client)


def test_strangers_at_the_owners_own_address_do_not_lock_the_device_out_either(api, client, alice):
    client.post(reverse("account_login"), LOGIN)
    client.post(reverse("account_logout"))
    for n in range(25):
        api.post("/api/v1/auth/token", {"email": f"n{n}@example.com", "password": "wrong"})
    client.post(reverse("account_login"), LOGIN)
    assert is_in(client)


def test_a_known_device_that_guesses_is_locked_out(client, alice):
    client.post(reverse("account_login"), LOGIN)
    client.post(reverse("account_logout"))
    for _ in range(5):
        client.post(reverse("account_login"), LOGIN | {"password": "wrong"})
    assert "Too many tries" in client.post(reverse("account_login"), LOGIN).content.decode()


def test_a_device_is_known_for_its_own_user_alone(api, client, alice, bob):
    client.post(reverse("account_login"), LOGIN | {"login": "bob@example.com"})
    client.post(reverse("account_logout"))
    guess(api)
    client.post(reverse("account_login"), LOGIN)
    assert not is_in(client)


def test_a_mailed_link_opens_the_lock_once(api, client, alice):
    guess(api)
    guess(api)
    (link,) = mailed_links()
    assert client.get(link).status_code == 200
    assert api.post("/api/v1/auth/token", ALICE).status_code == 429  # a program that follows links opens nothing
    assert client.post(link)["Location"] == reverse("account_login")
    assert api.post("/api/v1/auth/token", ALICE).status_code == 200
    guess(api)
    assert "no longer" in client.post(link).content.decode()
    assert api.post("/api/v1/auth/token", ALICE).status_code == 429
    assert len(mailed_links()) == 2


@pytest.mark.parametrize("token", ["x", "x:y:z"])
def test_a_forged_link_opens_nothing(api, client, alice, token):
    guess(api)
    page = client.post(reverse("account_open_login", args=[token]))
    assert (page.status_code, "no longer" in page.content.decode()) == (200, True)
    assert api.post("/api/v1/auth/token", ALICE).status_code == 429


@pytest.mark.parametrize("verified", [True, False])
def test_guesses_at_a_further_address_are_told_to_its_owner_too(api, alice, verified):
    EmailAddress.objects.create(user=alice, email="alice@elsewhere.example", verified=verified)
    for _ in range(6):
        api.post("/api/v1/auth/token", {"email": "alice@elsewhere.example", "password": "wrong"})
    assert len(mailed_links()) == verified


def test_nobody_is_mailed_about_an_account_that_is_not_there(api, db):
    for _ in range(6):
        api.post("/api/v1/auth/token", {"email": "nobody@example.com", "password": "wrong"})
    assert OutgoingMail.objects.count() == 0


def test_a_reset_by_the_api_opens_the_lock(api, alice):
    guess(api)
    api.post("/api/v1/auth/password/reset", {"email": alice.email})
    key = OutgoingMail.objects.last().text.partition("/reset/key/")[2].partition("/")[0]
    new = "another-Long-passphrase-2"
    assert api.post("/api/v1/auth/password/reset/confirm", {"key": key, "password": new}).status_code == 204
    assert api.post("/api/v1/auth/token", ALICE | {"password": new}).status_code == 200


def test_a_reset_on_the_pages_opens_the_lock(api, client, alice):
    guess(api)
    client.post(reverse("account_reset_password"), {"email": alice.email})
    link = re.search(r"https?://[^/]+(/\S+reset/key\S+)", OutgoingMail.objects.last().text).group(1)
    form = client.get(link, follow=True)
    new = "another-Long-passphrase-2"
    client.post(form.redirect_chain[-1][0], {"password1": new, "password2": new})
    client.post(reverse("account_login"), LOGIN | {"password": new})
    assert is_in(client)


def test_whoever_adds_somebody_elses_address_has_no_better_guesses(client, client_elsewhere, api, alice, bob):
    EmailAddress.objects.create(user=bob, email=alice.email, verified=False)
    client.post(reverse("account_login"), {"login": bob.email, "password": PASSWORD})
    assert is_in(client)
    client.post(reverse("account_logout"))
    guess(api)
    client.post(reverse("account_login"), {"login": alice.email, "password": PASSWORD})
    assert not is_in(client)  # bob's browser is not known for alice's account
    open_for_user(bob)
    client_elsewhere.post(reverse("account_login"), {"login": alice.email, "password": PASSWORD})
    assert not is_in(client_elsewhere)  # and he opens nothing of hers


@pytest.mark.parametrize("email", ['"a@b"@example.com', "a@b@example.com"])
def test_an_address_has_one_at(db, email):
    with pytest.raises(ValidationError):
        User.objects.create_user(email, PASSWORD)
