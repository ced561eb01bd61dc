"""Tests: the real PostgreSQL and Redis that `startup.py test` brings up, fast hashing, mail in memory."""

import os

os.environ.setdefault("SECRET_KEY", "for tests only, and as long as a signature of SHA-256 wants it")
os.environ.setdefault("DATABASE_URL", "postgres://127.0.0.1/tally")
os.environ.setdefault("REDIS_URL", "redis://127.0.0.1:6379/0")
if worker := os.environ.get("PYTEST_XDIST_WORKER"):  # a Redis database for each, as pytest-django has one of its own
    os.environ["REDIS_URL"] = f"{os.environ['REDIS_URL'].rpartition('/')[0]}/{1 + int(worker.removeprefix('gw'))}"

from config.settings.local import *

DEBUG = False
ALLOWED_HOSTS = ["*"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher", *PASSWORD_HASHERS]
DELIVERY_EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
INFERENCE_ENGINE = env.str("INFERENCE_ENGINE", default="inference.engine.fake.FakeEngine")
# Tests open many threads and the test runner drops the database afterwards: no pool.
del DATABASES["default"]["OPTIONS"]["pool"]
LOGGING["root"]["level"] = "WARNING"
WHITENOISE_AUTOREFRESH = True  # no collected static files in tests
