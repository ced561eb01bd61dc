"""The list of log-ins: what is open, from where and when, and how it ends. Nobody ends another's."""

from datetime import timedelta

import pytest
from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts import api_keys
from accounts.login import device_names, visits
from accounts.models import ApiSession, AuditEvent, User
from accounts.purge import purge_logins
from tests.support.cast import PASSWORD
from tests.support.databases.redis_admin import admin

PAGE = "/settings/devices/"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0"
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"
    " Version/17.5 Mobile/15E148 Safari/604.1"
)


def log_in(user, agent=FIREFOX, **more):
    client = Client(headers={"User-Agent": agent}, **more)
    answer = client.post(reverse("account_login"), {"login": user.email, "password": PASSWORD})
    assert answer.status_code == 302
    return client


def end_url(user, client):
    row = UserSession.objects.get(user=user, session_key=client.session.session_key)
    return reverse("settings:end_browser", args=[row.pk])


def is_in(client):
    return client.get(PAGE).status_code == 200


def test_the_list_has_every_log_in_with_device_address_and_last_use(alice):
    here, phone = log_in(alice), log_in(alice, IPHONE, REMOTE_ADDR="192.0.2.7")
    page = here.get(PAGE).content.decode()
    assert page.count("Firefox on Linux") == 1
    assert page.count("<b>Safari on iPhone</b>") == 1
    assert "192.0.2.7" in page
    assert page.count("this one") == 1
    assert f'action="{end_url(alice, here)}"' not in page
    assert f'action="{end_url(alice, phone)}"' in page


def test_the_last_use_is_kept_without_the_name_of_the_session(alice, monkeypatch):
    here, phone = log_in(alice), log_in(alice, IPHONE)
    UserSession.objects.update(last_seen_at=timezone.now() - timedelta(days=300), ip="192.0.2.1")
    monkeypatch.setattr(visits, "_noted", {})
    phone.get(PAGE, REMOTE_ADDR="192.0.2.9")
    page = here.get(PAGE).content.decode()
    assert "192.0.2.9" in page
    assert page.count(f"{timezone.now():%-d %b}, ") >= 3  # both began today, and the phone was used today
    key = phone.session.session_key
    assert [name for name in admin().keys("*") if "visit:" in str(name)]
    assert not [name for name in admin().keys("*") if key in str(name)]


def test_one_that_began_before_there_were_rows_is_listed_after_it_looks(client, alice):
    client.force_login(alice)
    assert UserSession.objects.count() == 0
    assert "this one" in client.get(PAGE).content.decode()
    assert UserSession.objects.get().user == alice


def test_a_browser_is_logged_out_once_however_often_one_clicks(alice):
    here, phone = log_in(alice), log_in(alice, IPHONE)
    url = end_url(alice, phone)
    for _click in range(2):
        assert here.post(url).url == PAGE
    assert not is_in(phone)
    assert is_in(here)
    assert "Safari on iPhone" not in here.get(PAGE).content.decode()
    assert AuditEvent.objects.filter(action="log-in ended").count() == 1


def test_a_program_is_logged_out_and_keys_stay(alice, api, rf):
    text = api_keys.create_key(user=alice, name="k", scopes=["chat"])[1]
    token = api.post("/api/v1/auth/token", {"email": alice.email, "password": PASSWORD}).json()["access"]
    here = log_in(alice)
    assert '<h2 id="h-programs">' in here.get(PAGE).content.decode()
    url = reverse("settings:end_program", args=[ApiSession.objects.get().pk])
    for _click in range(2):
        assert here.post(url).url == PAGE
    assert api.bearer(token).get("/api/v1/me").status_code == 401
    assert api.bearer(text).get("/api/v1/me").status_code == 200
    assert '<h2 id="h-programs">' not in here.get(PAGE).content.decode()
    assert AuditEvent.objects.filter(action="log-in ended").count() == 1


def test_everything_else_is_logged_out_also_what_has_no_row(client, alice, api):
    token = api.post("/api/v1/auth/token", {"email": alice.email, "password": PASSWORD}).json()["access"]
    client.force_login(alice)  # without a row
    here, phone = log_in(alice), log_in(alice, IPHONE)
    for _click in range(2):
        assert here.post(reverse("settings:end_all_others")).url == PAGE
    assert [is_in(browser) for browser in (client, phone, here)] == [False, False, True]
    assert api.bearer(token).get("/api/v1/me").status_code == 401
    page = here.get(PAGE).content.decode()
    assert page.count('class="line"') == 1
    assert UserSession.objects.get().session_key == here.session.session_key


def test_a_session_that_ended_with_a_change_of_the_password_is_not_listed(alice):
    here = log_in(alice)
    log_in(alice, IPHONE)
    User.objects.get(pk=alice.pk).set_password("x")
    here.post(reverse("account_reauthenticate"), {"password": PASSWORD})
    new = "battery staple 27 horses"
    changed = here.post(
        reverse("account_change_password"), {"oldpassword": PASSWORD, "password1": new, "password2": new}
    )
    assert changed.status_code == 302
    page = here.get(PAGE).content.decode()
    assert "Safari on iPhone" not in page
    assert page.count("Firefox on Linux") == 1


def test_others_log_ins_are_not_there(alice, charlie, api):
    api.post("/api/v1/auth/token", {"email": alice.email, "password": PASSWORD})
    hers, his = log_in(alice), log_in(charlie)
    for url in (end_url(alice, hers), reverse("settings:end_program", args=[ApiSession.objects.get().pk])):
        assert his.post(url).status_code == 404
    his.post(reverse("settings:end_all_others"))
    assert is_in(hers)
    assert ApiSession.objects.live().count() == 1


def test_a_log_in_behind_a_socket_without_an_address_works(alice):
    client = Client(headers={"User-Agent": FIREFOX}, REMOTE_ADDR="")
    client.post(reverse("account_login"), {"login": alice.email, "password": PASSWORD})
    assert is_in(client)


def test_rows_of_sessions_that_are_gone_are_purged(alice):
    here, phone = log_in(alice), log_in(alice, IPHONE)
    Session.objects.filter(session_key=phone.session.session_key).delete()
    purge_logins()
    assert UserSession.objects.get().session_key == here.session.session_key


def test_the_page_asks_the_database_the_same_for_one_log_in_and_for_ten(alice, django_assert_num_queries):
    here = log_in(alice)
    for _browser in range(9):
        log_in(alice, IPHONE)
    with django_assert_num_queries(8):  # the side bar's two; session, user, this row, rows, sessions, programs
        here.get(PAGE)


@pytest.mark.parametrize(
    ("agent", "name", "is_phone"),
    [
        (FIREFOX, "Firefox on Linux", False),
        (IPHONE, "Safari on iPhone", True),
        ("Mozilla/5.0 (Windows NT 10.0) Chrome/124.0 Safari/537.36 Edg/124.0", "Edge on Windows", False),
        ("Mozilla/5.0 (Linux; Android 14) Chrome/124.0 Mobile Safari/537.36", "Chrome on Android", True),
        ("python-requests/2.32.3", "python-requests/2.32.3", False),
        ("x" * 200, "x" * 40, False),
        ("", "Unknown device", False),
        (" ", "Unknown device", False),
    ],
)
def test_a_device_has_a_name(agent, name, is_phone):
    assert (device_names.name_of(agent), device_names.is_phone(agent)) == (name, is_phone)
