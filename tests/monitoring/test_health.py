"""Health tells which part does not answer."""

import pytest
from django.urls import reverse

from inference.relay import streams
from tests.support.databases.redis_admin import admin


def ready(client):
    response = client.get(reverse("readyz"))
    return response.status_code, response.json()


def test_the_process_is_healthy(client):
    assert client.get(reverse("healthz")).json() == {"status": "ok"}


def test_everything_is_ready(client, catalogue, worker):
    worker(catalogue.key)
    assert ready(client) == (200, {"database": True, "redis": True, "workers": True, "missing": []})


def test_without_a_gpu_worker_it_is_not(client, catalogue, worker):
    missing = {"database": True, "redis": True, "workers": False, "missing": [f"a GPU worker for {catalogue.key}"]}
    assert ready(client) == (503, missing)
    worker("another-model")
    assert ready(client) == (503, missing)
    worker(catalogue.key, is_stopping=True)
    assert ready(client) == (503, missing)


def test_a_model_that_nobody_can_ask_needs_no_worker(client, catalogue):
    catalogue.unavailable_reason = "Its weights are not on this machine."
    catalogue.save()
    assert ready(client)[0] == 200


def test_a_missing_redis_is_named(client, db, settings):
    settings.RELAY_REDIS_URL = "redis://127.0.0.1:1/0"
    streams.connection.cache_clear()
    try:
        answer = ready(client)
    finally:
        streams.connection.cache_clear()
    assert answer == (503, {"database": True, "redis": False, "workers": False, "missing": ["redis"]})


def test_a_redis_that_is_full_is_named(client, db):
    """It answers, and takes nothing: every request for an answer is a 503 then."""
    before = admin().config_get("maxmemory")["maxmemory"]
    admin().config_set("maxmemory", "1")
    try:
        assert ready(client)[1]["missing"] == ["redis"]
    finally:
        admin().config_set("maxmemory", before)


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
@pytest.mark.parametrize("method", ["get", "head"])
def test_a_load_balancer_asks_by_address_over_http_and_is_answered(db, client, settings, path, method):
    settings.ALLOWED_HOSTS, settings.SECURE_SSL_REDIRECT = ["tally.example.com"], True
    response = getattr(client, method)(path, headers={"Host": "10.1.2.3:8000"})
    assert response.status_code in (200, 503)
    assert client.get("/accounts/login/", headers={"Host": "tally.example.com"}).status_code == 301
