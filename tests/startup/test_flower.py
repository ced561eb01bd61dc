"""The Flower that `startup.py` starts: it does its work with the broker alone, and its password is not guessed."""

import socket
from collections.abc import Iterator

import httpx
import psutil
import pytest
import redis

from deploy.local.embedded import redis_users
from tests.support.stack import Stack, wait_until

NOT_ITS_BUSINESS = ("database_url", "database_owner_url")
NAMES = {"SECRET_KEY", "MAILBOX_SECRET", "EMAIL_URL", "STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET", "HF_TOKEN"}


@pytest.fixture
def flower(stack: Stack) -> Iterator[httpx.Client]:
    """A browser that is logged in as the operator."""
    operator = stack.runtime["operator"]
    with httpx.Client(
        base_url=stack.runtime["flower_url"], auth=(operator["email"], operator["password"]), timeout=20
    ) as client:
        yield client


def test_it_knows_the_broker_and_no_other_secret(stack: Stack) -> None:
    known = psutil.Process(stack.pid("flower")).environ()
    assert known["BROKER_REDIS_URL"] == stack.runtime["redis_urls"]["BROKER_REDIS_URL"]
    secrets = [stack.runtime[name] for name in NOT_ITS_BUSINESS]
    secrets += [url for name, url in stack.runtime["redis_urls"].items() if name != "BROKER_REDIS_URL"]
    secrets.append((stack.local / "secret_key").read_text())
    assert [secret for secret in secrets if secret in str(known)] == []
    assert known.keys() & NAMES == set()


def test_its_pages_and_buttons_work_with_the_broker_alone(stack: Stack, flower: httpx.Client) -> None:
    with redis.Redis.from_url(stack.redis.url, decode_responses=True) as admin:
        admin.acl_log_reset()
        workers = wait_until(lambda: flower.get("/api/workers?refresh=1").json(), 30, "Flower sees workers")
        mail = f"mail@{socket.gethostname()}"
        assert mail in workers
        for page in ("/workers", f"/worker/{mail}", "/tasks", "/broker", "/api/queues/length", "/metrics"):
            assert flower.get(page).status_code == 200, page
        before = stack.pid("mail-worker")
        assert flower.post(f"/api/worker/shutdown/{mail}").status_code == 200
        wait_until(lambda: stack.pid("mail-worker") not in (0, before), 60, "the mail worker is back")
        wait_until(lambda: stack.runtime["healthy"], 60, "all is well again")
        refused = [entry for entry in admin.acl_log() if entry["username"] in redis_users.USERS]
    assert refused == []


def test_its_password_is_not_guessed(stack: Stack, flower: httpx.Client) -> None:
    statuses = [flower.get("/workers", auth=("operator@example.com", "wrong")).status_code for _ in range(12)]
    assert statuses[:5] == [401] * 5
    assert 429 in statuses  # the last may be of the next minute
