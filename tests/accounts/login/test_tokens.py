"""Keys that sign tokens and sessions are replaced without logging anybody out; nobody else's key is believed."""

import secrets
from itertools import pairwise
from typing import cast

import jwt
import pytest
from django.urls import reverse
from rest_framework_simplejwt.tokens import AccessToken as NamelessToken
from rest_framework_simplejwt.tokens import Token

from accounts.login.tokens import AccessToken, name_of

OLD, NEW = secrets.token_urlsafe(64), secrets.token_urlsafe(64)
ME = "/api/v1/me"


@pytest.fixture(autouse=True)
def _one_key(settings):
    settings.JWT_SIGNING_KEY, settings.JWT_SIGNING_KEY_FALLBACKS = OLD, []


def key_named_in(text):
    return jwt.get_unverified_header(text)["kid"]


def test_a_token_names_its_key_and_tells_nothing_of_it(login, alice):
    token = login(alice).tokens.access
    assert key_named_in(token) == name_of(OLD)
    assert OLD[:8] not in name_of(OLD)


def test_a_key_is_replaced_in_three_steps_and_no_request_fails(login, alice, settings):
    """Two processes meanwhile: one that has made a step, and one that has not yet."""
    steps = [(OLD, []), (OLD, [NEW]), (NEW, [OLD])]
    for before, after in pairwise(steps):
        for first, second in ((before, after), (after, before)):
            settings.JWT_SIGNING_KEY, settings.JWT_SIGNING_KEY_FALLBACKS = first
            client = login(alice)
            settings.JWT_SIGNING_KEY, settings.JWT_SIGNING_KEY_FALLBACKS = second
            assert client.get(ME).status_code == 200
            again = client.post("/api/v1/auth/token/refresh", {"refresh": client.tokens.refresh})
            assert again.status_code == 200
            assert key_named_in(again.json()["access"]) == name_of(second[0])


def test_a_key_that_was_taken_out_is_believed_no_more(login, alice, settings):
    client = login(alice)
    settings.JWT_SIGNING_KEY = NEW
    assert client.get(ME).status_code == 401


def test_tokens_of_before_keys_had_names_are_still_good(login, alice, settings):
    client = login(alice)
    claims = jwt.decode(client.tokens.access, options={"verify_signature": False})
    nameless = jwt.encode(claims, settings.SECRET_KEY, algorithm="HS256")
    assert client.bearer(nameless).get(ME).status_code == 200
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], NEW
    assert client.bearer(nameless).get(ME).status_code == 200


@pytest.mark.parametrize("headers", [{}, {"kid": name_of(OLD)}, {"kid": "../../etc"}, {"kid": ""}])
def test_another_key_is_not_believed_whatever_the_token_says(login, alice, headers):
    client = login(alice)
    claims = jwt.decode(client.tokens.access, options={"verify_signature": False})
    for key, algorithm in ((NEW, "HS256"), (OLD, "HS512"), ("", "none")):
        forged = jwt.encode(claims, key or None, algorithm=algorithm, headers=headers)
        assert client.bearer(forged).get(ME).status_code == 401


def test_a_key_for_tokens_signs_no_token_without_a_name(login, alice):
    client = login(alice)
    claims = jwt.decode(client.tokens.access, options={"verify_signature": False})
    assert client.bearer(jwt.encode(claims, OLD, algorithm="HS256")).get(ME).status_code == 401


def test_a_new_secret_key_ends_no_log_in(login, alice, client, settings):
    program = login(alice)
    client.force_login(alice)
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], NEW
    assert program.get(ME).status_code == 200
    refreshed = program.post("/api/v1/auth/token/refresh", {"refresh": program.tokens.refresh}).json()
    assert client.get(reverse("billing:overview")).status_code == 200
    settings.SECRET_KEY_FALLBACKS = []  # pages that were opened and tokens that were exchanged since then go on
    assert client.get(reverse("billing:overview")).status_code == 200
    assert program.bearer(refreshed["access"]).get(ME).status_code == 200


def test_the_librarys_own_class_has_no_key_that_we_believe(alice):
    with pytest.raises(Exception, match="key"):
        AccessToken(cast(Token, str(NamelessToken.for_user(alice))))
