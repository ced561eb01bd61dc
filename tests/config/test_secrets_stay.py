"""What workers tell about themselves, and what lies in the cache, gives nobody a secret or a process."""

import json
import os
import subprocess
import sys

import pytest
from django.conf import settings
from django.core.cache import cache
from django_redis import get_redis_connection

TELL = """
import json, django
django.setup()
from types import SimpleNamespace
from celery.worker.control import conf
from config.celery import app
print(json.dumps(conf(SimpleNamespace(app=app), with_defaults=True), default=str))
"""
SECRETS = {
    "SECRET_KEY": "not-for-flower-" + "x" * 50,
    "DATABASE_URL": "postgres://somebody:not-for-flower@127.0.0.1:1/x",
    **{f"{use}_REDIS_URL": "redis://somebody:not-for-flower@127.0.0.1:1/0" for use in ("BROKER", "RELAY", "CACHE")},
    "STRIPE_SECRET_KEY": "sk_test_not-for-flower",
    "STRIPE_WEBHOOK_SECRET": "whsec_not-for-flower",
    "EMAIL_URL": "smtp://somebody:not-for-flower@127.0.0.1:1",
}


def test_what_a_worker_tells_about_itself_has_no_secret():
    """It is what Flower's pages show: the answer to the control command `conf`."""
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "config.settings.local"} | SECRETS
    told = subprocess.run([sys.executable, "-c", TELL], env=environment, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr[-2000:]
    configured = json.loads(told.stdout.splitlines()[-1])
    assert configured["task_default_queue"] == "default"
    assert configured["beat_schedule"]
    assert "not-for-flower" not in told.stdout
    assert not {"CACHES", "CACHE_REDIS_URL", "DATABASES", "SECRET_KEY", "EMAIL_HOST_PASSWORD"} & configured.keys()


def test_what_lies_in_the_cache_is_data_and_runs_nothing():
    cache.set("a list", [1, {"b": None}])
    assert cache.get("a list") == [1, {"b": None}]
    stored = get_redis_connection("default").get(cache.make_key("a list"))
    assert json.loads(stored) == [1, {"b": None}]
    with pytest.raises(TypeError):
        cache.set("an object", object())
    assert settings.CELERY_TASK_SERIALIZER == "json"
    assert settings.SESSION_SERIALIZER == "django.contrib.sessions.serializers.JSONSerializer"
