"""The log-ins that a user sees among the settings and can end: browsers, and programs that logged in through the API.

allauth keeps a row for each browser's session. One that began before there were such rows gets its row when its user
looks at the list.
"""

from dataclasses import dataclass
from datetime import datetime

from allauth.usersessions.models import UserSession
from django.contrib.auth import HASH_SESSION_KEY, update_session_auth_hash
from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models import F
from django.http import HttpRequest
from django.utils import timezone

from accounts import audit
from accounts.login import device_names, sessions
from accounts.login.visits import last_visits
from accounts.models import ApiSession, User

MOST_LISTED = 50  # of each kind, the latest; "sign out elsewhere" ends the others too


@dataclass(frozen=True, slots=True)
class Device:
    """One log-in. `key` names its row; `address` is where it was last used, as far as that is known."""

    key: str
    name: str
    is_phone: bool
    address: str
    begun_at: datetime
    used_at: datetime
    is_current: bool = False


def list_browsers(request: HttpRequest, user: User) -> list[Device]:
    """The user's open browser sessions, the one that asks first, then the latest used. Two queries, and Redis."""
    latest = UserSession.objects.filter(user=user).order_by("-pk")[:MOST_LISTED]
    rows = {row.session_key: row for row in latest}
    live = [rows[session_key] for session_key in _live_keys(user, list(rows))]
    visits = last_visits(row.session_key for row in live)
    devices = []
    for row in live:
        visit = visits.get(row.session_key)
        devices.append(
            Device(
                key=str(row.pk),
                name=device_names.name_of(row.user_agent),
                is_phone=device_names.is_phone(row.user_agent),
                address=visit.address if visit else row.ip,
                begun_at=row.created_at,
                used_at=visit.at if visit else row.last_seen_at,
                is_current=row.session_key == request.session.session_key,
            )
        )
    return sorted(devices, key=lambda device: (device.is_current, device.used_at), reverse=True)


def list_programs(user: User) -> list[Device]:
    """The user's open log-ins through the API, the latest used first. One query."""
    open_ones = ApiSession.objects.for_user(user).live()[:MOST_LISTED]
    devices = [
        Device(
            key=str(session.pk),
            name=device_names.name_of(session.user_agent),
            is_phone=False,
            address=session.address or "",
            begun_at=session.created_at,
            used_at=session.refreshed_at,
        )
        for session in open_ones
        if sessions.is_of_this_password(session, user)
    ]
    return sorted(devices, key=lambda device: device.used_at, reverse=True)


def know_this_browser(request: HttpRequest, user: User) -> None:
    """Make the row of the session that asks, if it has none. One query if it has one."""
    if not UserSession.objects.filter(user=user, session_key=request.session.session_key).exists():
        UserSession.objects.create_from_request(request)


@transaction.atomic
def end_browser(*, row: UserSession, by: User) -> None:
    """End a browser's session at once. A second call changes nothing."""
    if Session.objects.filter(session_key=row.session_key).delete()[0]:
        audit.record(actor=by, action="log-in ended", subject=by, address=row.ip, device=row.user_agent)


@transaction.atomic
def end_program(*, session: ApiSession, by: User) -> None:
    """End a log-in through the API at once. A second call changes nothing."""
    if sessions.revoke_session(session=session):
        audit.record(actor=by, action="log-in ended", subject=by, address=session.address, device=session.user_agent)


@transaction.atomic
def end_all_others(request: HttpRequest, user: User) -> None:
    """End every log-in of the user but the session that asks, also those that the list does not know. Keys stay."""
    current = request.session.session_key
    User.objects.filter(pk=user.pk).update(login_epoch=F("login_epoch") + 1)
    user.refresh_from_db(fields=["login_epoch"])
    sessions.revoke_sessions(user=user)
    others = UserSession.objects.filter(user=user).exclude(session_key=current)
    Session.objects.filter(session_key__in=list(others.values_list("session_key", flat=True))).delete()
    others.delete()
    update_session_auth_hash(request, user)  # gives the session another name
    UserSession.objects.filter(session_key=current).update(session_key=request.session.session_key)
    audit.record(actor=user, action="other log-ins ended", subject=user)


def _live_keys(user: User, session_keys: list[str]) -> list[str]:
    """Those of the sessions that have neither expired nor ended with a change of the password."""
    good = {user.get_session_auth_hash(), *user.get_session_auth_fallback_hash()}
    rows = Session.objects.filter(session_key__in=session_keys, expire_date__gt=timezone.now())
    return [row.session_key for row in rows if row.get_decoded().get(HASH_SESSION_KEY) in good]
