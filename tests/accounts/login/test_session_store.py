"""Requests that are on their way while a session gets another name log nobody out."""

import secrets

import pytest
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.login import session_store

PAGE = "billing:overview"


def tab_with(cookie, settings):
    tab = Client()
    tab.cookies[settings.SESSION_COOKIE_NAME] = cookie
    return tab


@pytest.fixture
def earlier(alice, client, settings):
    """The cookie of a log-in that was signed with an earlier SECRET_KEY."""
    client.force_login(alice)
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], secrets.token_urlsafe(64)
    return client.cookies[settings.SESSION_COOKIE_NAME].value


def test_the_tabs_of_one_browser_stay_logged_in_while_the_key_is_replaced(earlier, settings):
    tabs = [tab_with(earlier, settings) for _ in range(3)]
    answers = [tab.get(reverse(PAGE)) for tab in tabs]
    assert [answer.status_code for answer in answers] == [200] * 3
    names = {answer.cookies[settings.SESSION_COOKIE_NAME].value for answer in answers}
    assert earlier not in names
    settings.SECRET_KEY_FALLBACKS = []
    for name in names:
        assert tab_with(name, settings).get(reverse(PAGE)).status_code == 200


def test_the_earlier_name_ends_within_a_minute(earlier, settings):
    tab_with(earlier, settings).get(reverse(PAGE))
    row = Session.objects.get(session_key=earlier)
    assert row.expire_date <= timezone.now() + session_store.GRACE
    Session.objects.filter(pk=row.pk).update(expire_date=timezone.now())
    assert tab_with(earlier, settings).get(reverse(PAGE)).status_code == 302


def test_who_logs_in_gets_another_name_and_the_earlier_one_has_no_user(alice, client, settings):
    store = session_store.SessionStore()
    store["theme"] = "dark"
    store.create()
    before = store.session_key
    client.cookies[settings.SESSION_COOKIE_NAME] = before
    client.force_login(alice)
    assert client.cookies[settings.SESSION_COOKIE_NAME].value != before
    assert tab_with(before, settings).get(reverse(PAGE)).status_code == 302


def test_after_a_change_of_the_password_the_earlier_name_is_refused(alice, client, settings):
    client.force_login(alice)
    before = client.cookies[settings.SESSION_COOKIE_NAME].value
    alice.set_password("another-password-2026")
    alice.save()
    assert tab_with(before, settings).get(reverse(PAGE)).status_code == 302
