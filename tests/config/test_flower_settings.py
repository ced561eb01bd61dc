"""Flower's settings keep nothing of a production's environment but the broker's URL."""

import os
import subprocess
import sys

from deploy.local.stack import NOT_FOR_FLOWER

SHOW = """
import os
import django
from django.conf import settings

django.setup()
known = {name: repr(getattr(settings, name)) for name in dir(settings) if name.isupper()}
print([name for name, value in {**os.environ, **known}.items() if "hidden" in value])
"""


def test_no_secret_is_left_but_the_brokers_url(tmp_path):
    urls = dict.fromkeys(("REDIS_URL", "RELAY_REDIS_URL", "CACHE_REDIS_URL"), "redis://hidden@127.0.0.1/0")
    urls |= dict.fromkeys(("DATABASE_URL", "DATABASE_OWNER_URL"), "postgres://hidden@127.0.0.1/x")
    urls["EMAIL_URL"] = "smtp://hidden@127.0.0.1"
    given = dict.fromkeys(NOT_FOR_FLOWER, "hidden" * 10) | urls
    secret = tmp_path / "secret"
    secret.write_text("hidden" * 10)
    given |= {f"{name}_FILE": str(secret) for name in ("SECRET_KEY", "JWT_SIGNING_KEY", "MAILBOX_SECRET")}
    settings = {"DJANGO_SETTINGS_MODULE": "config.settings.flower", "BROKER_REDIS_URL": "redis://seen@127.0.0.1/0"}
    done = subprocess.run(
        [sys.executable, "-c", SHOW], env=os.environ | given | settings, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "[]", done.stdout + done.stderr[-2000:]
