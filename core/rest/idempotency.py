"""The `Idempotency-Key` of a request: one rule for `/api/v1/` and `/v1/`."""

import hashlib
import re
from datetime import datetime

from django.http import HttpRequest
from django.utils.translation import gettext as _
from rest_framework.request import Request

HEADER = "Idempotency-Key"
MOST_CHARACTERS = 255
_SHORT = re.compile(r"[A-Za-z0-9._:-]{1,64}")


class InvalidIdempotencyKey(Exception):
    """The header is empty, too long, or not printable ASCII."""

    def __init__(self) -> None:
        text = _("An Idempotency-Key has 1 to {most} printable ASCII characters. Without the header there is none.")
        super().__init__(text.format(most=MOST_CHARACTERS))


def read_idempotency_key(request: HttpRequest | Request) -> str:
    """The key, empty when none was sent. Raises InvalidIdempotencyKey."""
    key = request.headers.get(HEADER)
    if key is None:
        return ""
    if not 1 <= len(key) <= MOST_CHARACTERS or not key.isascii() or not key.isprintable():
        raise InvalidIdempotencyKey
    return key


def shorten(key: str) -> str:
    """Return the key, or its SHA-256, in at most 64 characters, for columns in which it is only a part."""
    return key if _SHORT.fullmatch(key) else hashlib.sha256(key.encode()).hexdigest()


def mark_replay(request: HttpRequest, made_at: datetime | None = None) -> None:
    """Let the answer say, in the header `Idempotent-Replayed`, that an earlier request made its content.

    With `made_at`, only if that is before this request began, by this process's clock.
    """
    if made_at is None or made_at < request.begun_at:  # type: ignore[attr-defined]  # core.rest.middleware
        request.is_replayed = True  # type: ignore[attr-defined]
