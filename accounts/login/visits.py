"""When and from where each browser was last used. Redis keeps it: that costs a page no query, and may be lost.

The name of a session opens it, so Redis gets a keyed hash of it.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.core.cache import cache
from django.http import HttpRequest
from django.utils.crypto import salted_hmac

from core.client_addresses import client_address

NOTED_AGAIN_SECONDS = 60  # by one process
KEPT_SECONDS = 30 * 86_400
MOST_REMEMBERED = 10_000

_noted: dict[str, float] = {}


@dataclass(frozen=True, slots=True)
class Visit:
    """The last use of a session."""

    at: datetime
    address: str


def note_visit(request: HttpRequest) -> None:
    """Record that the session of this request was used now."""
    name, now = _name_of(request.session.session_key or ""), time.time()
    if now - _noted.get(name, 0) < NOTED_AGAIN_SECONDS:
        return
    if len(_noted) >= MOST_REMEMBERED:
        _noted.clear()
    _noted[name] = now
    cache.set(name, {"at": now, "address": client_address(request)}, KEPT_SECONDS)


def last_visits(session_keys: Iterable[str]) -> dict[str, Visit]:
    """The last use of each of these sessions that Redis knows. One question each: the cache's user may not ask more."""
    found: dict[str, Any] = {key: cache.get(_name_of(key)) for key in session_keys}
    return {key: Visit(datetime.fromtimestamp(kept["at"], UTC), kept["address"]) for key, kept in found.items() if kept}


def _name_of(session_key: str) -> str:
    return f"visit:{salted_hmac('accounts.visits', session_key, algorithm='sha256').hexdigest()}"
