"""Settings for tests: the real PostgreSQL and Redis that `startup.py test` starts, fast hashing, mail in memory."""

import os

os.environ.setdefault("SECRET_KEY", "for tests only, and as long as a signature of SHA-256 wants it")
os.environ.setdefault("DATABASE_URL", "postgres://127.0.0.1/tally")
os.environ.setdefault("REDIS_URL", "redis://127.0.0.1:6379/0")


def _use_own_redis_database(worker: str) -> None:
    """Give each process of pytest-xdist its own Redis database, as pytest-django does with PostgreSQL databases."""
    for name in ("REDIS_URL", "BROKER_REDIS_URL", "RELAY_REDIS_URL", "CACHE_REDIS_URL", "REDIS_ADMIN_URL"):
        if url := os.environ.get(name):
            os.environ[name] = f"{url.rpartition('/')[0]}/{1 + int(worker.removeprefix('gw'))}"


if "PYTEST_XDIST_WORKER" in os.environ:
    _use_own_redis_database(os.environ["PYTEST_XDIST_WORKER"])

from config.settings.local import *  # noqa: E402  after the environment is complete

DEBUG = False
STAFF_WITHOUT_SECOND_FACTOR = False
ALLOWED_HOSTS = ["*"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher", *PASSWORD_HASHERS]
DELIVERY_EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
INFERENCE_ENGINE = env.str("INFERENCE_ENGINE", default="inference.engine.fake.FakeEngine")
REDIS_ADMIN_URL = os.environ.get("REDIS_ADMIN_URL") or REDIS_URL  # a user with rights that Tally's users must not have
# Tests open many threads and the test runner drops the database afterwards: no pool.
del DATABASES["default"]["OPTIONS"]["pool"]
LOGGING["root"]["level"] = "WARNING"
ALERT_WATCH = False  # a thread that writes beside a test would be in its way
WHITENOISE_AUTOREFRESH = True  # no collected static files in tests
