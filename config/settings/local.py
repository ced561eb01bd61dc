"""Settings for development on one machine, as `startup.py run` uses them. Only here and in tests are demo accounts."""

import json
import os
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured


def _take_what_startup_wrote() -> None:
    """Let a plain `manage.py` command find the servers of a running Tally. Environment variables take precedence.

    Raises ImproperlyConfigured if Tally is not running here and SECRET_KEY is not set.
    """
    local = Path(os.environ.get("TALLY_LOCAL_DIR") or Path(__file__).parents[2] / ".local")
    try:
        runtime = json.loads((local / "runtime.json").read_text())
        secret_key = (local / "secret_key").read_text().strip()
    except (OSError, ValueError):
        if "SECRET_KEY" in os.environ:
            return
        raise ImproperlyConfigured(
            "Tally is not running here. Start it with `python3 startup.py`, or name the folder of a running one in"
            " TALLY_LOCAL_DIR. Where it runs otherwise, set what .env.example names."
        ) from None
    if "DATABASE_URL" not in os.environ:  # set in Tally's own processes, which must not get the owner's log-in
        os.environ["DATABASE_URL"] = runtime.get("database_url", "")
        os.environ.setdefault("DATABASE_OWNER_URL", runtime.get("database_owner_url", ""))
    if "REDIS_URL" not in os.environ:
        for name, url in runtime.get("redis_urls", {}).items():
            os.environ.setdefault(name, url)
    os.environ.setdefault("SECRET_KEY", secret_key)


_take_what_startup_wrote()

from config.settings import demands  # noqa: E402  after the environment is complete
from config.settings.base import *  # noqa: E402
from core.addresses import read_networks  # noqa: E402

DEBUG = os.environ.get("TALLY_DEBUG", "1") == "1"  # benchmarks set 0, to measure what production runs
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]"]
DEMO = True
STAFF_WITHOUT_SECOND_FACTOR = env.bool("STAFF_WITHOUT_SECOND_FACTOR", default=True)  # demo accounts, while DEBUG
METRICS_NETWORKS = METRICS_NETWORKS or read_networks(["127.0.0.0/8", "::1"])
# The sandbox is a page that simulates a payment provider. If a Stripe key is set, Stripe stays first, the default.
PAYMENT_PROVIDERS = {**PAYMENT_PROVIDERS, "sandbox": "billing.topups.sandbox.SandboxProvider"}
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
WHITENOISE_USE_FINDERS = True
if "ALERT_BACKUP_HOURS" not in os.environ:
    ALERT_BACKUP_HOURS = 0.0  # demo data needs no backup
demands.refuse()
