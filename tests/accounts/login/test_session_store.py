"""While SECRET_KEY is replaced, requests that come together log nobody out, and a log-out ends all of a log-in."""

import secrets

import pytest
from django.test import Client
from django.urls import reverse

from accounts.login.session_store import SessionStore

PAGE = "billing:overview"
PASSWORD = "another-password-2026"


def tab_with(cookie, settings):
    tab = Client()
    tab.cookies[settings.SESSION_COOKIE_NAME] = cookie
    return tab


def name_of(client, settings):
    return client.cookies[settings.SESSION_COOKIE_NAME].value


def is_logged_in(cookie, settings):
    return tab_with(cookie, settings).get(reverse(PAGE)).status_code == 200


@pytest.fixture
def replaced(alice, client, settings):
    """The cookie of a log-in that was made with an earlier SECRET_KEY."""
    client.force_login(alice)
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], secrets.token_urlsafe(64)
    return name_of(client, settings)


def test_the_tabs_of_one_browser_stay_logged_in_under_their_name(replaced, settings):
    answers = [tab_with(replaced, settings).get(reverse(PAGE)) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert {answer.cookies[settings.SESSION_COOKIE_NAME].value for answer in answers[:1]} == {replaced}
    settings.SECRET_KEY_FALLBACKS = []  # the session was made good with the new key
    assert is_logged_in(replaced, settings)


def test_who_logs_out_while_a_key_is_replaced_is_out_everywhere(replaced, settings):
    tab = tab_with(replaced, settings)
    tab.get(reverse(PAGE))
    names = {replaced, name_of(tab, settings)}
    tab.post(reverse("account_logout"))
    assert [is_logged_in(name, settings) for name in names] == [False] * len(names)


def test_a_key_that_was_taken_out_is_believed_no_more(replaced, settings):
    settings.SECRET_KEY_FALLBACKS = []
    assert not is_logged_in(replaced, settings)


def test_who_logs_in_gets_another_name_and_the_earlier_one_is_gone(alice, client, settings):
    store = SessionStore()
    store["theme"] = "dark"
    store.create()
    before = store.session_key
    client.cookies[settings.SESSION_COOKIE_NAME] = before
    client.force_login(alice)
    assert name_of(client, settings) != before
    assert not store.exists(before)


def test_a_change_of_the_password_gives_another_name_and_the_earlier_one_is_gone(alice, client, settings):
    alice.set_password("the-first-password-2026")
    alice.save()
    client.force_login(alice)
    before = name_of(client, settings)
    form = {"oldpassword": "the-first-password-2026", "password1": PASSWORD, "password2": PASSWORD}
    assert client.post(reverse("account_change_password"), form).status_code == 302
    assert is_logged_in(name_of(client, settings), settings)
    assert not is_logged_in(before, settings)
