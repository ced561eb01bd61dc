"""API keys: shown once, kept as a hash, limited by scope, dead at once when revoked."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts import api_keys
from accounts.models import ApiKey, AuditEvent, User
from tests.cast import at_once

KEY = {"name": "reports", "scopes": ["usage:read"]}


def test_a_key_is_shown_once_and_kept_as_a_hash(login, alice, api):
    client = login(alice)
    made = client.post("/api/v1/keys", KEY)
    assert made.status_code == 201
    text = made.json()["key"]
    assert text.startswith(f"tly_{made.json()['prefix']}_")
    row = ApiKey.objects.get()
    assert text.rpartition("_")[2] not in repr(ApiKey.objects.values().get())
    for seen in (client.get("/api/v1/keys").json()["results"][0], client.get(f"/api/v1/keys/{row.pk}").json()):
        assert "key" not in seen
        assert "secret_hash" not in seen
    assert api.bearer(text).get("/api/v1/me").json()["email"] == "alice@example.com"
    assert AuditEvent.objects.get().action == "key created"


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": 7}, "name"),
        ({"name": "x" * 61}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["admin"]}, "scopes.0"),
        ({"scopes": "chat"}, "scopes"),
        ({"monthly_cap_microcredits": 0}, "monthly_cap_microcredits"),
        ({"monthly_cap_microcredits": -5}, "monthly_cap_microcredits"),
        ({"monthly_cap_microcredits": 1.5}, "monthly_cap_microcredits"),
        ({"monthly_cap_microcredits": "5"}, "monthly_cap_microcredits"),
        ({"monthly_cap_microcredits": True}, "monthly_cap_microcredits"),
        ({"monthly_cap_microcredits": 10**30}, "monthly_cap_microcredits"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"expires_at": "2027-01-01T00:00:00"}, "expires_at"),
        ({"scoops": ["chat"]}, "scoops"),
    ],
)
def test_a_wrong_field_is_named(login, alice, wrong, field):
    answer = login(alice).post("/api/v1/keys", KEY | wrong)
    assert answer.status_code == 400
    assert answer["Content-Type"] == "application/problem+json"
    assert field in str(list(answer.json()["errors"]))
    assert ApiKey.objects.count() == 0


def test_a_key_that_expired_already_is_refused(login, alice):
    answer = login(alice).post("/api/v1/keys", KEY | {"expires_at": "2020-01-01T00:00:00Z"})
    assert (answer.status_code, answer.json()["code"]) == (422, "refused")


def test_a_revoked_an_expired_and_a_wrong_key_open_nothing(with_key, alice, api):
    client = with_key(alice)
    assert client.get("/api/v1/me").status_code == 200
    wrong = client.text[:-1] + ("a" if client.text[-1] != "a" else "b")
    for text in (wrong, client.text + "x", "tly_", "tly__", f"tly_{client.key.prefix}_", "tly_" + "é" * 54):
        assert api.bearer(text).get("/api/v1/me").status_code == 401
    ApiKey.objects.update(expires_at=timezone.now())
    assert client.get("/api/v1/me").status_code == 401
    ApiKey.objects.update(expires_at=None)
    api_keys.revoke_key(key=client.key, by=alice)
    refused = client.get("/api/v1/me")
    assert (refused.status_code, refused.json()["code"]) == (401, "authentication_failed")
    assert refused["WWW-Authenticate"].startswith("Bearer")


def test_a_suspended_user_is_out_with_the_next_request(with_key, login, alice):
    clients = [with_key(alice), login(alice)]
    assert [client.get("/api/v1/me").status_code for client in clients] == [200, 200]
    User.objects.filter(pk=alice.pk).update(is_active=False)
    assert [client.get("/api/v1/me").status_code for client in clients] == [401, 401]


def test_a_key_cannot_make_keys_or_change_the_account(with_key, alice):
    client = with_key(alice)
    for answer in (
        client.post("/api/v1/keys", KEY),
        client.get("/api/v1/keys"),
        client.delete(f"/api/v1/keys/{client.key.pk}"),
        client.patch("/api/v1/me", {"first_name": "Mallory"}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (403, "login_required")


def test_charlie_gets_404_for_a_key_of_alice(with_key, login, alice, charlie):
    key = with_key(alice).key
    for method in ("get", "delete"):
        assert getattr(login(charlie), method)(f"/api/v1/keys/{key.pk}").status_code == 404
    key.refresh_from_db()
    assert key.revoked_at is None


def test_revoking_twice_is_recorded_once(login, with_key, alice):
    key, client = with_key(alice).key, login(alice)
    for _ in range(2):
        assert client.delete(f"/api/v1/keys/{key.pk}").status_code == 204
    assert AuditEvent.objects.filter(action="key revoked").count() == 1


def test_last_use_is_written_at_most_once_a_minute(with_key, alice, django_assert_num_queries):
    client = with_key(alice)
    client.get("/api/v1/me")
    first = ApiKey.objects.get().last_used_at
    assert first is not None
    with django_assert_num_queries(1):
        client.get("/api/v1/me")
    assert ApiKey.objects.get().last_used_at == first
    ApiKey.objects.update(last_used_at=first - timedelta(seconds=61))
    client.get("/api/v1/me")
    assert ApiKey.objects.get().last_used_at >= first


@pytest.mark.django_db(transaction=True)
def test_fifty_keys_are_the_most_even_at_once(alice, monkeypatch):
    monkeypatch.setattr(api_keys, "MOST_KEYS", 3)
    results = at_once(6, lambda n: api_keys.create_key(user=alice, name=str(n), scopes=["chat"]))
    assert sum(isinstance(result, api_keys.TooManyKeys) for result in results) == 3
    assert ApiKey.objects.count() == 3


@pytest.mark.parametrize(
    "fields",
    [
        {"scopes": []},
        {"scopes": ["everything"]},
        {"monthly_cap_microcredits": 0},
        {"name": ""},
        {"secret_hash": "the secret itself"},
    ],
)
def test_the_database_refuses_a_key_that_makes_no_sense(with_key, alice, fields):
    key = with_key(alice).key
    with pytest.raises(IntegrityError), transaction.atomic():
        ApiKey.objects.filter(pk=key.pk).update(**fields)


def test_a_list_of_keys_takes_three_queries(login, with_key, alice, django_assert_num_queries):
    for _ in range(5):
        with_key(alice)
    client = login(alice)
    with django_assert_num_queries(2):
        assert len(client.get("/api/v1/keys").json()["results"]) == 5
