"""Operators see the machine, the models, the queues and the workers as they are."""

import time

import psutil
import pytest
import redis
from celery import current_app
from celery.contrib.testing.worker import start_worker

from inference import answer_cache
from inference.models import CatalogueModel, Generation
from inference.relay import streams
from monitoring import machine
from tests.billing.holds import open_hold
from tests.support.databases.queue import forget_tickets
from tests.support.databases.redis_admin import admin


def queue_generation(user, model):
    hold = open_hold(user)
    return Generation.objects.create(
        user=user, model=model, hold=hold, idempotency_key=str(hold.pk), inputs_hash="h", top_p=1, top_k=1, seed=1,
        prompt_tokens=hold.prompt_tokens, max_completion_tokens=10, requested_completion_tokens=10, temperature=0,
    )  # fmt: skip


def test_health_says_what_does_not_answer(login, staff, monkeypatch):
    client = login(staff)
    health = client.get("/api/v1/ops/health").json()
    assert (health["is_ok"], [check["name"] for check in health["checks"]]) == (True, ["database", "redis"])
    dead = redis.Redis(port=1, socket_connect_timeout=1, retry=None)
    monkeypatch.setattr(streams, "connection", lambda: dead)
    health = client.get("/api/v1/ops/health").json()
    assert (health["is_ok"], [check["is_ok"] for check in health["checks"]]) == (False, [True, False])


def test_the_system_is_this_machine(login, staff):
    system = login(staff).get("/api/v1/ops/system").json()
    assert system["memory_total_bytes"] == psutil.virtual_memory().total
    assert system["processors"] == psutil.cpu_count()
    assert 0 < system["disk_free_bytes"] <= system["disk_total_bytes"]


def test_models_say_what_waits(login, staff, alice, catalogue, django_assert_num_queries):
    for _ in range(2):
        queue_generation(alice, catalogue)
    running = queue_generation(alice, catalogue)
    Generation.objects.filter(pk=running.pk).update(state="running")
    client = login(staff)
    with django_assert_num_queries(3):  # who asks, the models, what is live
        models = client.get("/api/v1/ops/models").json()["models"]
    found = {model["key"]: model for model in models}
    assert len(found) == CatalogueModel.objects.count()
    assert (found[catalogue.key]["queued"], found[catalogue.key]["running"]) == (2, 1)
    assert found[catalogue.key]["oldest_queued_seconds"] >= 0
    assert found["gemma-3-1b"]["unavailable_reason"]
    assert found["gemma-3-1b"]["oldest_queued_seconds"] is None


def test_queues_count_what_lies_in_the_broker(login, staff, catalogue):
    client = login(staff)
    forget_tickets(catalogue)
    for _ in range(3):
        current_app.send_task("inference.generate", kwargs={"generation_id": "x"}, queue=catalogue.queue)
    queues = {row["name"]: row["tasks"] for row in client.get("/api/v1/ops/queues").json()["queues"]}
    assert queues[catalogue.queue] == 3
    assert "default" in queues
    forget_tickets(catalogue)


def test_the_answer_cache_says_how_often_it_helped(login, staff, settings):
    settings.ANSWER_CACHE_ENTRIES = 7
    client = login(staff)
    nothing = dict.fromkeys(("entries", "hits", "misses", "joined", "stored", "evicted"), 0)
    limits = {"entries_limit": 7, "price_percent": 10}
    assert client.get("/api/v1/ops/answer-cache").json() == nothing | limits
    admin().hset(answer_cache.COUNTS, mapping={"hits": 3, "joined": 2})
    admin().zadd(answer_cache.USED, {"fresh": time.time(), "expired": 1})
    assert client.get("/api/v1/ops/answer-cache").json() == nothing | limits | {"entries": 1, "hits": 3, "joined": 2}


@pytest.mark.parametrize("name", ["queues", "workers", "answer-cache"])
def test_without_redis_queues_workers_and_cache_are_a_503(login, staff, monkeypatch, name):
    client = login(staff)
    dead = redis.Redis(port=1, socket_connect_timeout=1, retry=None)
    for module in (streams, answer_cache):
        monkeypatch.setattr(module, "connection", lambda: dead)
    monkeypatch.setattr(machine, "broker_connection", lambda: dead)

    def refuse(*_args, **_kwargs):
        raise redis.ConnectionError

    monkeypatch.setattr(current_app.control, "inspect", lambda **_: type("Dead", (), {"stats": refuse})())
    answer = client.get(f"/api/v1/ops/{name}")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")


@pytest.mark.django_db(transaction=True)
def test_workers_are_those_that_answer(login, staff):
    client = login(staff)
    with start_worker(current_app, pool="threads", concurrency=3, perform_ping_check=False, queues=["default"]):
        [worker] = client.get("/api/v1/ops/workers").json()["workers"]
    assert (worker["threads"], worker["queues"]) == (3, ["default"])
    assert client.get("/api/v1/ops/workers").json()["workers"] == []
