"""The data export: all data about a person, as one JSON file. Each app adds its tables with `add_section`.

Rows are read in batches by primary key, so the export takes little memory. After each batch its thread returns the
database connection, so a slow download does not hold one.
"""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import QuerySet
from django.utils import timezone

from accounts.models import ApiKey, ApiSession, AuditEvent, OutgoingMail, User
from core.async_queries import in_thread

BATCH_ROWS = 500


@dataclass(frozen=True, slots=True)
class Section:
    """One list of the file.

    `rows` finds a user's rows, `columns` are the exported ones, `written` converts a row for the file, and
    `batch_rows` are read by one query.
    """

    name: str
    rows: Callable[[User], QuerySet[Any]]
    columns: tuple[str, ...]
    written: Callable[[dict[str, Any]], dict[str, Any]] = dict
    batch_rows: int = BATCH_ROWS


SECTIONS: dict[str, Section] = {}


def add_section(section: Section) -> None:
    """Add a list to every export, or replace the one of this name. Called from an app's `ready`."""
    SECTIONS[section.name] = section


def read_export(user: User) -> Iterator[bytes]:
    """Yield the file piece by piece."""
    yield json.dumps({"exported_at": timezone.now()}, cls=DjangoJSONEncoder)[:-1].encode()
    for section in SECTIONS.values():
        yield f',\n"{section.name}": ['.encode()
        yield from _read_section(section, user)
        yield b"\n]"
    yield b"}\n"


async def stream_export(user: User) -> AsyncIterator[bytes]:
    """The same file, for an asynchronous view: its thread returns the database connection after each piece."""
    pieces = read_export(user)
    while (piece := await in_thread(partial(next, pieces, None))) is not None:
        yield piece


def _read_section(section: Section, user: User) -> Iterator[bytes]:
    separator, after = "\n", None
    while True:
        rows = _read_batch(section, user, after)
        if rows:
            lines = ",\n".join(json.dumps(row, cls=DjangoJSONEncoder, ensure_ascii=False) for row in rows)
            yield f"{separator}{lines}".encode()
            separator, after = ",\n", rows[-1]["pk"]
        if len(rows) < section.batch_rows:
            return


def _read_batch(section: Section, user: User, after: Any) -> list[dict[str, Any]]:
    rows = section.rows(user).order_by("pk")
    if after is not None:
        rows = rows.filter(pk__gt=after)
    return [section.written(row) for row in rows.values("pk", *section.columns)[: section.batch_rows]]


def add_account_sections() -> None:
    """Add the tables of this app."""
    person = ("email", "first_name", "last_name", "language", "time_zone", "look", "date_joined", "last_login")
    keys = ("name", "prefix", "scopes", "monthly_cap_microcredits", "created_at", "last_used_at", "revoked_at")
    sessions = ("address", "user_agent", "created_at", "refreshed_at", "revoked_at")
    add_section(Section("account", lambda user: User.objects.filter(pk=user.pk), person))
    add_section(Section("api_keys", lambda user: ApiKey.objects.filter(user=user), keys))
    add_section(Section("api_sessions", lambda user: ApiSession.objects.filter(user=user), sessions))
    browsers = ("ip", "user_agent", "created_at", "last_seen_at")
    add_section(Section("browser_sessions", lambda user: UserSession.objects.filter(user=user), browsers))
    factors = ("type", "created_at", "last_used_at")
    add_section(Section("second_factors", lambda user: Authenticator.objects.filter(user=user), factors))
    events = ("action", "details", "created_at")
    add_section(Section("audit_events", lambda user: AuditEvent.objects.filter(subject=user), events))
    mails = ("subject", "created_at", "sent_at")
    add_section(Section("mails", lambda user: OutgoingMail.objects.to_any_of([user.email]), mails))
