"""Commands under production's settings."""

import hashlib
import os
import runpy
import subprocess
import sys

from django.conf import settings

from config.settings import demands


def secret_of(name):
    """A secret as strong as production wants it, the same in every process of the tests."""
    return hashlib.sha512(name.encode()).hexdigest()


def manage(url, owner_url, *arguments, **variables):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=settings.BASE_DIR,
        env={**os.environ, "DATABASE_URL": url, "DATABASE_OWNER_URL": owner_url, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


PRODUCTION = {
    "DJANGO_SETTINGS_MODULE": "config.settings.production",
    "ALLOWED_HOSTS": "tally.example.com",
    "PUBLIC_URL": "https://tally.example.com",
    "TRUSTED_PROXIES": "",
    "EMAIL_URL": "smtp+tls://tally:secret@mail.example.com:587",
    "SECRET_KEY": secret_of("SECRET_KEY"),
    "JWT_SIGNING_KEY": secret_of("JWT_SIGNING_KEY"),
}

REDIS = {f"{name}_REDIS_URL": "redis://user:secret@127.0.0.1:1/0" for name in ("BROKER", "RELAY", "CACHE")}


def read_production(monkeypatch, **changes):
    """Production's settings, read in this process."""
    monkeypatch.setattr(demands, "_findings", [])
    for module in ("base", "api", "inference"):  # which were read before, with another environment
        monkeypatch.delitem(sys.modules, f"config.settings.{module}")
    for name, value in (PRODUCTION | REDIS | changes).items():
        monkeypatch.setenv(name, value)
    return runpy.run_path(str(settings.BASE_DIR / "config" / "settings" / "production.py"))
