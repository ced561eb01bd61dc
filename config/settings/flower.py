"""Settings of Flower, which shows and controls the workers. It can reach only the broker in Redis, and no other server.

What Flower does not need is replaced before the settings are read. So an attacker who breaks into it gets no access to
the database or the answers, and no keys that sign log-ins.
"""

import os
import secrets

NOTHING = "127.0.0.1:1"  # nobody listens there
UNUSED = (
    "DATABASE_OWNER_URL",
    "REDIS_URL",
    "MAILBOX_SECRET",
    "SECRET_KEY_FALLBACKS",
    "JWT_SIGNING_KEY",
    "JWT_SIGNING_KEY_FALLBACKS",
    "EMAIL_URL",
    "STRIPE_SECRET_KEY",
    "STRIPE_WEBHOOK_SECRET",
    "HF_TOKEN",
    "METRICS_TOKEN",
)
os.environ.update(
    SECRET_KEY=secrets.token_urlsafe(50),
    DATABASE_URL=f"postgres://nobody@{NOTHING}/nothing",
    **dict.fromkeys(UNUSED, ""),
    RELAY_REDIS_URL=f"redis://nobody@{NOTHING}/0",
    CACHE_REDIS_URL=f"redis://nobody@{NOTHING}/0",
)
for _name in ("SECRET_KEY", "DATABASE_URL", "RELAY_REDIS_URL", "CACHE_REDIS_URL", *UNUSED):
    os.environ.pop(f"{_name}_FILE", None)  # a file's value would come first

from config.settings import demands  # noqa: E402  after the environment is complete
from config.settings.base import *  # noqa: E402

# Counts the wrong tries at Flower's log-in, in the memory of its only process: a restart forgets them.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        "OPTIONS": {"MAX_ENTRIES": 100_000},  # two entries for each address that guesses
    }
}
demands.refuse()
