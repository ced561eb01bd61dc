"""Health tells which part does not answer."""

from django.urls import reverse

from inference import relay


def test_the_process_is_healthy(client):
    assert client.get(reverse("healthz")).json() == {"status": "ok"}


def test_everything_is_ready(client, db):
    response = client.get(reverse("readyz"))
    assert (response.status_code, response.json()) == (200, {"database": True, "redis": True})


def test_a_missing_redis_is_named(client, db, settings):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    relay.connection.cache_clear()
    try:
        response = client.get(reverse("readyz"))
    finally:
        relay.connection.cache_clear()
    assert (response.status_code, response.json()) == (503, {"database": True, "redis": False})
