"""Registering, logging in and out, passwords: the tokens' life and the doors that shut."""

import re
from datetime import timedelta

import pytest
from django.core.cache import cache
from django.db.models import F
from django.urls import reverse
from django.utils import timezone

from accounts.login.sessions import REFRESH_AGAIN_SECONDS
from accounts.login.tokens import AccessToken, RefreshToken
from accounts.models import ApiSession, User
from tests.support.cast import PASSWORD, at_once
from tests.support.databases.redis_admin import admin
from tests.support.mailbox import read_mails

NEW = {"email": "New@Example.com", "password": "a-Long-passphrase-1"}
ALICE = {"email": "alice@example.com", "password": PASSWORD}


def mailed_key():
    return re.search(r"https?://\S+/(?:confirm-email|reset/key)/([^/\s]+)", str(read_mails()[-1].body)).group(1)


def test_register_verify_log_in_and_be_somebody(api, catalogue, settings, faults):
    answer = api.post("/api/v1/auth/register", NEW)
    assert (answer.status_code, answer.cookies) == (202, {})
    user = User.objects.get(email="new@example.com")
    early = api.post("/api/v1/auth/token", NEW)
    assert (early.status_code, early.json()["code"]) == (403, "email_not_verified")
    verified = api.post("/api/v1/auth/verify-email", {"key": mailed_key()})
    assert (verified.status_code, verified.cookies) == (204, {})
    again = api.post("/api/v1/auth/verify-email", {"key": mailed_key()})
    assert (again.status_code, list(again.json()["errors"])) == (422, ["key"])
    tokens = api.post("/api/v1/auth/token", NEW)
    assert (tokens.status_code, tokens.cookies) == (200, {})
    assert api.bearer(tokens.json()["access"]).get("/api/v1/me").json()["id"] == user.pk
    user.wallet.refresh_from_db()
    assert user.wallet.balance_microcredits == settings.SIGNUP_BONUS_MICROCREDITS
    assert faults() == []


def test_an_address_that_is_taken_is_told_by_mail_alone(api, alice):
    fresh = api.post("/api/v1/auth/register", NEW)
    taken = api.post("/api/v1/auth/register", NEW | {"email": "ALICE@example.com"})
    assert (taken.status_code, taken.json()) == (fresh.status_code, fresh.json())
    assert read_mails()[-1].to == ["alice@example.com"]
    assert "already" in read_mails()[-1].body
    assert User.objects.count() == 2


@pytest.mark.parametrize(
    ("wrong", "status", "field"),
    [
        ({"password": "short"}, 422, "password"),
        ({"password": "12345678901"}, 422, "password"),
        ({"password": ""}, 400, "password"),
        ({"password": "x" * 129}, 400, "password"),
        ({"password": None}, 400, "password"),
        ({"email": "nobody"}, 400, "email"),
        ({"email": 7}, 400, "email"),
        ({"email": "a\x00b@example.com"}, 400, "email"),
        ({"is_staff": True}, 400, "is_staff"),
    ],
)
def test_register_names_the_wrong_field(api, db, wrong, status, field):
    answer = api.post("/api/v1/auth/register", NEW | wrong)
    assert (answer.status_code, list(answer.json()["errors"])) == (status, [field])
    assert User.objects.count() == 0


@pytest.mark.django_db(transaction=True)
def test_registering_twice_at_once_makes_one_account(catalogue):
    from tests.support.api_clients import Client

    answers = at_once(4, lambda _n: Client().post("/api/v1/auth/register", NEW | {"email": "race@example.com"}))
    assert {answer.status_code for answer in answers} <= {202, 429}
    assert User.objects.filter(email="race@example.com").count() == 1


def test_wrong_passwords_shut_the_door_for_the_account(api, alice, settings, one_minute):
    answers = [api.post("/api/v1/auth/token", ALICE | {"password": "wrong"}) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [401] * 5 + [429]
    right = api.post("/api/v1/auth/token", ALICE)
    assert right.status_code == 429
    assert int(right["Retry-After"]) > 0
    assert ApiSession.objects.count() == 0


def test_the_door_is_the_same_for_the_pages(api, client, alice, one_minute):
    for _ in range(5):
        api.post("/api/v1/auth/token", ALICE | {"password": "wrong"})
    page = client.post(reverse("account_login"), {"login": ALICE["email"], "password": PASSWORD})
    assert "Too many tries" in page.content.decode()
    assert client.get(reverse("billing:overview")).status_code == 302


def test_wrong_passwords_on_the_pages_shut_the_api(api, client, alice, one_minute):
    for _ in range(6):
        client.post(reverse("account_login"), {"login": ALICE["email"], "password": "wrong"})
    assert api.post("/api/v1/auth/token", ALICE).status_code == 429


def test_the_door_backs_off(api, alice, monkeypatch):
    from django_ratelimit import core

    now = core._get_window(ALICE["email"], 3600) + 1  # its hour begins: none ends between the tries
    monkeypatch.setattr("django_ratelimit.core.time.time", lambda: now)

    def wait_after_failures():
        return [
            int(answer.headers.get("Retry-After", 0))
            for answer in (api.post("/api/v1/auth/token", ALICE | {"password": "wrong"}) for _ in range(6))
        ][-1]

    waits = []
    for _ in range(4):
        waits.append(wait_after_failures())
        now += waits[-1] + 1
    assert waits[0] <= 300
    assert max(waits) > 300


def test_right_passwords_are_not_counted(api, alice, one_minute):
    assert [api.post("/api/v1/auth/token", ALICE).status_code for _ in range(12)] == [200] * 12


def test_without_redis_the_doors_stay_shut(api, alice, monkeypatch):
    monkeypatch.setattr(cache, "add", lambda *args, **kwargs: False)
    monkeypatch.setattr(cache, "incr", lambda *args, **kwargs: None)
    monkeypatch.setattr(cache, "get", lambda *args, **kwargs: None)
    for path, body in (("token", ALICE), ("register", NEW), ("password/reset", {"email": ALICE["email"]})):
        assert api.post(f"/api/v1/auth/{path}", body).status_code == 503


def test_a_suspended_user_cannot_log_in_or_refresh(api, login, alice):
    tokens = login(alice).tokens
    User.objects.filter(pk=alice.pk).update(is_active=False)
    assert api.post("/api/v1/auth/token", ALICE).status_code == 401
    assert api.post("/api/v1/auth/token/refresh", {"refresh": tokens.refresh}).status_code == 401
    assert api.post("/api/v1/auth/token/verify", {"token": tokens.access}).status_code == 401


def refresh(api, text):
    api.credentials()
    return api.post("/api/v1/auth/token/refresh", {"refresh": text})


def let_seconds_pass(seconds):
    """As if the last exchange of every log-in were so many seconds longer ago."""
    ApiSession.objects.update(refreshed_at=F("refreshed_at") - timedelta(seconds=seconds))


def test_a_refresh_token_is_good_once_and_its_second_use_ends_the_log_in(api, login, alice):
    client = login(alice)
    fresh = refresh(api, client.tokens.refresh).json()
    assert client.get("/api/v1/me").status_code == 200  # the earlier access token lives out its ten minutes
    assert api.bearer(fresh["access"]).get("/api/v1/me").status_code == 200
    let_seconds_pass(REFRESH_AGAIN_SECONDS + 1)
    stolen = refresh(api, client.tokens.refresh)
    assert (stolen.status_code, stolen.json()["code"]) == (401, "invalid_token")
    assert refresh(api, fresh["refresh"]).status_code == 401
    assert api.bearer(fresh["access"]).get("/api/v1/me").status_code == 401


@pytest.mark.django_db(transaction=True)
def test_refreshes_at_once_all_get_the_same_successor(api, login, alice):
    from tests.support.api_clients import Client

    body = {"refresh": login(alice).tokens.refresh}
    answers = at_once(10, lambda _n: Client().post("/api/v1/auth/token/refresh", body))
    assert [answer.status_code for answer in answers] == [200] * 10
    assert len({answer.json()["refresh"] for answer in answers}) == 1
    assert {api.bearer(answer.json()["access"]).get("/api/v1/me").status_code for answer in answers} == {200}
    assert ApiSession.objects.get().revoked_at is None


def test_a_second_tab_that_is_a_little_late_stays_logged_in(api, login, alice):
    first = login(alice).tokens.refresh
    successor = refresh(api, first).json()["refresh"]
    let_seconds_pass(REFRESH_AGAIN_SECONDS - 3)
    assert refresh(api, first).json()["refresh"] != first
    assert ApiSession.objects.get().revoked_at is None
    assert refresh(api, successor).status_code == 200


def test_a_refresh_token_two_exchanges_old_ends_the_log_in_at_once(api, login, alice):
    first = login(alice).tokens.refresh
    third = refresh(api, refresh(api, first).json()["refresh"]).json()["refresh"]
    assert refresh(api, first).status_code == 401
    assert refresh(api, third).status_code == 401


def test_nothing_that_is_kept_of_a_log_in_is_a_token(api, login, alice):
    first = login(alice).tokens.refresh
    second = refresh(api, first).json()["refresh"]
    kept = " ".join(str(value) for value in ApiSession.objects.values_list().get())
    assert first not in kept
    assert second not in kept


def test_tokens_of_another_kind_or_hand_are_refused(api, login, alice, settings):
    client = login(alice)
    forged = AccessToken.for_user(alice)
    no_session = str(RefreshToken.for_user(alice))
    forged["session"] = "not a session"
    for text in (client.tokens.refresh, str(forged), no_session, "a.b.c", "x", "é"):
        assert api.bearer(text).get("/api/v1/me").status_code == 401
    api.credentials()
    assert api.post("/api/v1/auth/token/refresh", {"refresh": client.tokens.access}).status_code == 401
    for header in ("Basic YWxpY2U6cHc=", "Bearer", "Bearer ", client.tokens.access):
        assert api.get("/api/v1/me", HTTP_AUTHORIZATION=header).status_code == 401
    assert api.get("/api/v1/me").json()["code"] == "not_authenticated"


def test_an_expired_access_token_is_refused(api, login, alice, monkeypatch):
    client = login(alice)
    token = AccessToken(client.tokens.access)
    assert timedelta(minutes=9) < timedelta(seconds=token["exp"] - timezone.now().timestamp()) <= timedelta(minutes=10)
    token.set_exp(lifetime=-timedelta(seconds=1))
    assert api.bearer(str(token)).get("/api/v1/me").status_code == 401


def test_a_refresh_token_is_good_for_fourteen_days_and_each_exchange_begins_them_anew(api, login, alice):
    tokens = login(alice).tokens
    ApiSession.objects.update(expires_at=timezone.now() + timedelta(minutes=1))
    fresh = api.post("/api/v1/auth/token/refresh", {"refresh": tokens.refresh}).json()
    for text in (tokens.refresh, fresh["refresh"]):
        left = timedelta(seconds=RefreshToken(text)["exp"] - timezone.now().timestamp())
        assert timedelta(days=13, hours=23) < left <= timedelta(days=14)
    assert ApiSession.objects.get().expires_at > timezone.now() + timedelta(days=13, hours=23)
    ApiSession.objects.update(expires_at=timezone.now())
    assert api.post("/api/v1/auth/token/refresh", {"refresh": fresh["refresh"]}).status_code == 401
    assert api.bearer(fresh["access"]).get("/api/v1/me").status_code == 401


def test_verify_tells_whose_a_token_is(api, login, alice):
    answer = api.post("/api/v1/auth/token/verify", {"token": login(alice).tokens.access})
    assert answer.json()["email"] == "alice@example.com"


def test_log_out_ends_the_access_token_at_once(login, alice):
    first, second, third = (login(alice) for _ in range(3))
    assert first.post("/api/v1/auth/logout", {}).status_code == 204
    assert [client.get("/api/v1/me").status_code for client in (first, second, third)] == [401, 200, 200]
    assert second.post("/api/v1/auth/logout", {"everywhere": True}).status_code == 204
    assert third.get("/api/v1/me").status_code == 401


def test_sessions_are_listed_and_ended_by_their_owner_alone(login, alice, charlie, django_assert_num_queries):
    client, other, outsider = login(alice), login(alice), login(charlie)
    with django_assert_num_queries(2):
        listed = client.get("/api/v1/sessions").json()["results"]
    assert {row["id"]: row["is_current"] for row in listed} == {
        str(client.session_row.pk): True,
        str(other.session_row.pk): False,
    }
    path = f"/api/v1/sessions/{other.session_row.pk}"
    assert outsider.delete(path).status_code == 404
    assert other.get("/api/v1/me").status_code == 200
    assert client.delete(path).status_code == 204
    assert client.delete(path).status_code == 204
    assert other.get("/api/v1/me").status_code == 401


def test_a_new_password_ends_every_other_log_in_and_leaves_keys(login, with_key, client, alice):
    mine, other, key = login(alice), login(alice), with_key(alice)
    client.force_login(alice)
    body = {"current_password": PASSWORD, "password": "another-Long-passphrase-2"}
    assert mine.post("/api/v1/auth/password/change", body).status_code == 204
    assert [c.get("/api/v1/me").status_code for c in (mine, other, key)] == [200, 401, 200]
    assert client.get(reverse("billing:overview")).status_code == 302  # the page's session too
    alice.refresh_from_db()
    assert alice.check_password("another-Long-passphrase-2")


def test_a_password_set_elsewhere_ends_the_log_in(login, alice):
    client = login(alice)
    alice.set_password("set-in-the-admin-9")
    alice.save()
    assert client.get("/api/v1/me").status_code == 401


@pytest.mark.parametrize(
    ("wrong", "field"), [({"current_password": "wrong"}, "current_password"), ({"password": "short"}, "password")]
)
def test_a_password_change_names_the_wrong_field(login, alice, wrong, field):
    body = {"current_password": PASSWORD, "password": "another-Long-passphrase-2"} | wrong
    answer = login(alice).post("/api/v1/auth/password/change", body)
    assert (answer.status_code, list(answer.json()["errors"])) == (422, [field])
    alice.refresh_from_db()
    assert alice.check_password(PASSWORD)


def test_guessing_the_current_password_shuts_the_door(login, alice, one_minute):
    client = login(alice)
    body = {"current_password": "wrong", "password": "another-Long-passphrase-2"}
    statuses = [client.post("/api/v1/auth/password/change", body).status_code for _ in range(6)]
    assert statuses == [422] * 5 + [429]


def test_a_forgotten_password_is_reset_by_mail_once(api, login, alice):
    client = login(alice)
    asked = api.post("/api/v1/auth/password/reset", {"email": "Alice@example.com"})
    unknown = api.post("/api/v1/auth/password/reset", {"email": "nobody@example.com"})
    assert (asked.status_code, asked.json()) == (unknown.status_code, unknown.json()) == (202, asked.json())
    read_mails().pop()
    body = {"key": mailed_key(), "password": "another-Long-passphrase-2"}
    weak = api.post("/api/v1/auth/password/reset/confirm", body | {"password": "short"})
    assert list(weak.json()["errors"]) == ["password"]
    assert api.post("/api/v1/auth/password/reset/confirm", body).status_code == 204
    assert api.post("/api/v1/auth/password/reset/confirm", body).status_code == 422
    assert client.get("/api/v1/me").status_code == 401
    assert api.post("/api/v1/auth/token", ALICE | {"password": body["password"]}).status_code == 200


@pytest.mark.parametrize("key", ["", "x", "-", "1-", "zzzzzzzzzzzzzzz-1-2", "7-cvx2p1-0f8e9d", "é-1"])
def test_a_reset_key_of_nobody_is_refused(api, alice, key):
    answer = api.post("/api/v1/auth/password/reset/confirm", {"key": key, "password": "another-Long-passphrase-2"})
    assert answer.status_code in (400, 422)


def test_a_suspended_user_cannot_reset(api, alice):
    api.post("/api/v1/auth/password/reset", {"email": "alice@example.com"})
    key = mailed_key()
    User.objects.filter(pk=alice.pk).update(is_active=False)
    answer = api.post("/api/v1/auth/password/reset/confirm", {"key": key, "password": "another-Long-passphrase-2"})
    assert answer.status_code == 422


def test_the_confirmation_is_mailed_again_once_in_three_minutes(api, catalogue):
    api.post("/api/v1/auth/register", NEW)
    admin().flushdb()
    for _ in range(2):
        answer = api.post("/api/v1/auth/verify-email/resend", {"email": NEW["email"]})
        assert answer.status_code == 202
    assert len(read_mails()) == 2
    assert api.post("/api/v1/auth/verify-email/resend", {"email": "nobody@example.com"}).json() == answer.json()


def test_sign_ups_are_limited_by_address(api, catalogue, one_minute):
    statuses = [api.post("/api/v1/auth/register", NEW | {"email": f"n{n}@example.com"}).status_code for n in range(11)]
    assert statuses == [202] * 10 + [429]
