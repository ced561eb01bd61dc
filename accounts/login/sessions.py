"""Log-ins through the API: a session row, an access token of ten minutes and a refresh token that rotates."""

import uuid
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address
from typing import TypeVar

from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.tokens import Token

from accounts.login.devices import is_known_program
from accounts.login.tokens import AccessToken, RefreshToken
from accounts.mail.security_notices import tell_of_log_in
from accounts.models import ApiSession, User
from core.client_addresses import client_address

SESSION_CLAIM = "session"
REFRESH_AGAIN_SECONDS = 10  # tabs that exchange the same token within this time get the same new one
T = TypeVar("T", bound=Token)


class InvalidToken(Exception):
    """The token is forged, expired or already used, or its session has ended."""


@dataclass(frozen=True, slots=True)
class TokenPair:
    """The two tokens that a log-in or a refresh returns, and their session."""

    access: str
    refresh: str
    session: ApiSession

    @property
    def access_seconds(self) -> int:
        """How many seconds the access token is valid."""
        return int(api_settings.ACCESS_TOKEN_LIFETIME.total_seconds())


@transaction.atomic
def open_session(*, user: User, request: HttpRequest, is_confirmed: bool = False) -> TokenPair:
    """Log in a user whose password was right. If this program is new in this network, the user gets a mail.

    `is_confirmed` says whether a second factor was given too.
    """
    address, agent = _valid_address(request), request.headers.get("User-Agent", "")[:200].replace("\x00", "")
    if user.last_login is not None and not is_known_program(user=user, address=address, user_agent=agent):
        tell_of_log_in(user=user, address=address or "", user_agent=agent)
    refresh = RefreshToken.for_user(user)
    session = ApiSession.objects.create(
        user=user,
        refresh_id=refresh["jti"],
        password_hash=_password_hash(user),
        is_confirmed=is_confirmed,
        address=address,
        user_agent=agent,
        expires_at=timezone.now() + api_settings.REFRESH_TOKEN_LIFETIME,
    )
    User.objects.filter(pk=user.pk).update(last_login=timezone.now())
    refresh[SESSION_CLAIM] = str(session.pk)
    return TokenPair(str(refresh.access_token), str(refresh), session)


def refresh_session(*, text: str) -> TokenPair:
    """Exchange a refresh token for a new pair. A refresh token is good for one exchange. Raises InvalidToken.

    Two tabs of a browser often exchange the same token at the same time. The conditional update lets one of them win.
    For REFRESH_AGAIN_SECONDS the others get the same new refresh token, and an access token of their own. If a used
    token is exchanged later, or an even older token at any time, the log-in ends: the token was stolen or replayed, and
    nothing shows which of its two holders is the thief.
    """
    refresh = _decode(text, RefreshToken)
    session = _live_session(refresh)
    used, now = refresh["jti"], timezone.now()
    refresh.set_jti()
    session.refreshed_at, session.expires_at = now, now + api_settings.REFRESH_TOKEN_LIFETIME
    fresh = ApiSession.objects.filter(pk=session.pk, refresh_id=used, revoked_at__isnull=True)
    if fresh.update(
        refresh_id=refresh["jti"],
        previous_refresh_id=used,
        refreshed_at=session.refreshed_at,
        expires_at=session.expires_at,
        password_hash=_password_hash(session.user),  # by the current SECRET_KEY, so that an earlier one can be removed
    ):
        session.refresh_id = refresh["jti"]
        return _successor(refresh, session)
    exchanged = _exchanged_just_now(session, used)
    if exchanged is None:
        revoke_session(session=session)
        raise InvalidToken
    return _successor(refresh, exchanged)


def _exchanged_just_now(session: ApiSession, used: str) -> ApiSession | None:
    """The session as it is now, if the token `used` was the last one exchanged, within REFRESH_AGAIN_SECONDS."""
    since = timezone.now() - timedelta(seconds=REFRESH_AGAIN_SECONDS)
    live = ApiSession.objects.live().select_related("user")
    return live.filter(pk=session.pk, previous_refresh_id=used, refreshed_at__gt=since).first()


def _successor(refresh: RefreshToken, session: ApiSession) -> TokenPair:
    """The token pair of a session row. The refresh token depends only on the row, so its text is always the same."""
    refresh["jti"] = session.refresh_id
    refresh.set_iat(at_time=session.refreshed_at)
    refresh.set_exp(from_time=session.expires_at, lifetime=timedelta(0))
    return TokenPair(str(refresh.access_token), str(refresh), session)


def find_session(text: str) -> ApiSession:
    """Return the live session of an access token, with its user, in one query. Raises InvalidToken."""
    return _live_session(_decode(text, AccessToken))


def revoke_session(*, session: ApiSession) -> bool:
    """End a log-in; return whether it was open. Its access token, too, stops working immediately."""
    return bool(ApiSession.objects.filter(pk=session.pk, revoked_at__isnull=True).update(revoked_at=timezone.now()))


def revoke_sessions(*, user: User, but: ApiSession | None = None) -> int:
    """End all of a user's log-ins except `but`, and return how many were ended."""
    ended = ApiSession.objects.filter(user=user, revoked_at__isnull=True)
    if but is not None:
        ended = ended.exclude(pk=but.pk)
    return ended.update(revoked_at=timezone.now())


def keep_session(*, session: ApiSession, user: User) -> None:
    """Keep a session open although its user changed the password in it."""
    ApiSession.objects.filter(pk=session.pk).update(password_hash=_password_hash(user))


def _decode(text: str, kind: type[T]) -> T:
    try:
        return kind(text)  # type: ignore[arg-type]
    except TokenError as error:
        raise InvalidToken from error


def _live_session(token: Token) -> ApiSession:
    try:
        session_id = uuid.UUID(str(token[SESSION_CLAIM]))
    except (KeyError, ValueError) as error:
        raise InvalidToken from error
    session = ApiSession.objects.live().select_related("user").filter(pk=session_id).first()
    if session is None or not session.user.is_active or session.user.closes_at is not None:
        raise InvalidToken
    if not is_of_this_password(session, session.user):
        raise InvalidToken
    return session


def is_of_this_password(session: ApiSession, user: User) -> bool:
    """Whether the password of its user is still that of the log-in; SECRET_KEY may have been replaced since then."""
    kept = session.password_hash
    if constant_time_compare(kept, _password_hash(user)):
        return True
    return any(constant_time_compare(kept, older[:64]) for older in user.get_session_auth_fallback_hash())


def _password_hash(user: User) -> str:
    return user.get_session_auth_hash()[:64]


def _valid_address(request: HttpRequest) -> str | None:
    try:
        return str(ip_address(client_address(request)))
    except ValueError:
        return None
