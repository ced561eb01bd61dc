"""Flower, which shows and steers the workers: of Redis it has the broker alone, and of all else nothing.

What it does not need is replaced before the settings are read, so that nobody who breaks into it finds the database,
the answers or the keys that sign log-ins.
"""

import os
import secrets

NOTHING = "127.0.0.1:1"  # nobody listens there
UNUSED = (
    "DATABASE_OWNER_URL",
    "REDIS_URL",
    "MAILBOX_SECRET",
    "EMAIL_URL",
    "STRIPE_SECRET_KEY",
    "STRIPE_WEBHOOK_SECRET",
    "HF_TOKEN",
)
os.environ.update(
    SECRET_KEY=secrets.token_urlsafe(50),
    DATABASE_URL=f"postgres://nobody@{NOTHING}/nothing",
    **dict.fromkeys(UNUSED, ""),
    RELAY_REDIS_URL=f"redis://nobody@{NOTHING}/0",
    CACHE_REDIS_URL=f"redis://nobody@{NOTHING}/0",
)

from config.settings.base import *  # noqa: E402  after the environment is complete

# The wrong tries at its log-in are counted here: there is one Flower, and it forgets them when it ends.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        "OPTIONS": {"MAX_ENTRIES": 100_000},  # two for each address that guesses
    }
}
