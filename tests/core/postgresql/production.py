"""Commands under production's settings."""

import os
import subprocess
import sys

from django.conf import settings


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
    "EMAIL_URL": "consolemail://",
    "SECRET_KEY": "for tests only, and as long as a signature of SHA-256 wants it",
}
