"""API keys: shown once, kept as a hash, limited by scope, dead at once when revoked."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts import api_keys
from accounts.models import ApiKey, AuditEvent, User
from tests.support.cast import at_once

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


def test_a_key_is_renamed_rescoped_recapped_limited_and_given_an_end(login, alice, with_key):
    keyed, client = with_key(alice), login(alice)
    key = alice.api_keys.get()
    url = f"/api/v1/keys/{key.pk}"
    changes = (
        {"name": "Weekly"},
        {"scopes": ["usage:read", "chat", "chat"]},
        {"monthly_cap_microcredits": 5},
        {"models": ["gemma-3-1b"]},
        {"expires_at": "2099-01-01T00:00:00.000000Z"},
        {"monthly_cap_microcredits": None, "models": []},
    )
    for change in changes:
        answer = client.patch(url, change)
        assert answer.status_code == 200, answer.content
        key.refresh_from_db()
    assert (key.name, key.scopes, key.allowed_models) == ("Weekly", ["chat", "usage:read"], [])
    assert key.monthly_cap_microcredits is None
    assert answer.json()["expires_at"].startswith("2099-01-01T00:00:00")
    assert keyed.get("/api/v1/me").status_code == 200
    assert keyed.get("/api/v1/wallet").status_code == 403
    assert AuditEvent.objects.filter(action="key changed").count() == len(changes)
    client.patch(url, {"name": "Weekly"})
    assert AuditEvent.objects.filter(action="key changed").count() == len(changes)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"name": " "}, 400),
        ({"scopes": []}, 400),
        ({"models": "gemma-3-1b"}, 400),
        ({"prefix": "mine"}, 400),
        ({"monthly_cap_microcredits": 0}, 400),
        ({"expires_at": "2020-01-01T00:00:00Z"}, 422),
    ],
)
def test_a_change_that_makes_no_sense_changes_nothing(login, alice, with_key, change, status):
    with_key(alice)
    before = ApiKey.objects.values().get()
    assert login(alice).patch(f"/api/v1/keys/{before['id']}", change).status_code == status
    assert ApiKey.objects.values().get() == before


def test_a_rotated_key_is_the_same_key_and_the_text_before_goes_on_for_a_while(login, alice, api, with_key):
    client = login(alice)
    made = client.post("/api/v1/keys", KEY).json()
    url = f"/api/v1/keys/{made['id']}"
    rotated = client.post(f"{url}/rotate", {"overlap_seconds": 3600}).json()
    assert (rotated["id"], rotated["name"], rotated["prefix"] != made["prefix"]) == (made["id"], made["name"], True)
    for text in (made["key"], rotated["key"]):
        assert api.bearer(text).get("/api/v1/me").status_code == 200
    ApiKey.objects.update(replaced_until=timezone.now() - timedelta(seconds=1))
    assert api.bearer(made["key"]).get("/api/v1/me").status_code == 401
    assert api.bearer(rotated["key"]).get("/api/v1/me").status_code == 200
    last = client.post(f"{url}/rotate", {"overlap_seconds": 0}).json()
    for text, status in ((made["key"], 401), (rotated["key"], 401), (last["key"], 200)):
        assert api.bearer(text).get("/api/v1/me").status_code == status
    assert [event.action for event in AuditEvent.objects.order_by("pk")][-2:] == ["key rotated", "key rotated"]


def test_the_text_before_dies_with_its_key_and_no_secret_opens_another_prefix(login, alice, api):
    client = login(alice)
    made = client.post("/api/v1/keys", KEY).json()
    rotated = client.post(f"/api/v1/keys/{made['id']}/rotate", {}).json()
    mixed = made["key"].rpartition("_")[0] + "_" + rotated["key"].rpartition("_")[2]
    assert api.bearer(mixed).get("/api/v1/me").status_code == 401
    client.delete(f"/api/v1/keys/{made['id']}")
    for text in (made["key"], rotated["key"]):
        assert api.bearer(text).get("/api/v1/me").status_code == 401
    for refused in (
        client.post(f"/api/v1/keys/{made['id']}/rotate", {}),
        client.patch(f"/api/v1/keys/{made['id']}", KEY),
    ):
        assert (refused.status_code, refused.json()["code"]) == (422, "refused")


def test_nobody_changes_or_rotates_the_key_of_somebody_else_nor_with_a_key(login, alice, bob, with_key):
    keyed = with_key(alice)
    url = f"/api/v1/keys/{alice.api_keys.get().pk}"
    assert login(bob).patch(url, {"name": "Mine"}).status_code == 404
    assert login(bob).post(f"{url}/rotate", {}).status_code == 404
    assert keyed.patch(url, {"name": "Mine"}).status_code == 403
    assert keyed.post(f"{url}/rotate", {}).status_code == 403


def test_a_key_asks_the_models_that_it_is_limited_to_and_sees_no_others(alice, with_key, catalogue):
    client = with_key(alice, allowed_models=["gemma-3-1b"])
    asked = {"model": catalogue.key, "messages": [{"role": "user", "content": "Hi"}]}
    refused = client.post("/api/v1/generations", asked)
    assert (refused.status_code, refused.json()["code"]) == (403, "model_not_allowed")
    assert "gemma-3-1b" in refused.json()["detail"]
    ApiKey.objects.update(allowed_models=[catalogue.key])
    assert client.post("/api/v1/generations", asked).status_code == 201
