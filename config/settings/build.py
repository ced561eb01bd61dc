"""Settings for `collectstatic` while an image is built: no server is there yet, and no secret may get into it."""

import os
import secrets

_NOTHING = "127.0.0.1:1"  # nobody listens there
os.environ.update(
    SECRET_KEY=secrets.token_urlsafe(50),  # forgotten when the command ends
    DATABASE_URL=f"postgres://nobody@{_NOTHING}/nothing",
    REDIS_URL=f"redis://nobody@{_NOTHING}/0",
)

from config.settings import demands  # noqa: E402  after the environment is complete
from config.settings.base import *  # noqa: E402

WHITENOISE_KEEP_ONLY_HASHED_FILES = True
demands.refuse()
