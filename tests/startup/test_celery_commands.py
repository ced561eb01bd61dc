"""What operators ask of Celery at the command line works as the user of the broker, and is refused nothing."""

import os
import subprocess
import sys
from typing import Any

import pytest
import redis

from deploy.local.embedded import redis_users
from tests.support.stack import ROOT, Stack

COMMANDS = {
    ("inspect", "ping"): "pong",
    ("inspect", "active_queues"): "generate.",
    ("inspect", "conf"): "task_default_queue",
    ("inspect", "registered"): "inference.",
    ("status",): "online",
    ("control", "rate_limit", "billing.sum_usage", "100/m"): "new rate limit",
    ("control", "heartbeat"): "OK",
    ("call", "billing.sum_usage"): "-",
    ("purge", "-f", "-Q", "default"): "",
}


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_command_of_celery_works_for_the_user_of_the_broker(stack: Stack, arguments: Any) -> None:
    secret = {"SECRET_KEY": "for tests only, and as long as a signature of SHA-256 wants it"}
    variables = os.environ | secret | stack.runtime["redis_urls"] | {"DATABASE_URL": stack.runtime["database_url"]}
    variables["DJANGO_SETTINGS_MODULE"] = "config.settings.local"
    with redis.Redis.from_url(stack.redis.url, decode_responses=True) as admin:
        admin.acl_log_reset()
        done = subprocess.run(
            [sys.executable, "-m", "celery", "-A", "config", *arguments],
            env=variables,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        refused = [entry for entry in admin.acl_log() if entry["username"] in redis_users.USERS]
    assert done.returncode == 0, done.stdout + done.stderr
    assert COMMANDS[arguments] in done.stdout
    assert refused == []
