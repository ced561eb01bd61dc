"""Authentication and permissions of the API. `Authorization: Bearer` carries an API key or an access token.

A log-in may do all that its user may. A key may do what its scopes allow, and can never change keys, log-ins or the
account. After a suspension, the user's next request is refused, with any key or token.
"""

from typing import Any, cast

from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request

from accounts.api_keys import MARK, find_key, note_use
from accounts.login.sessions import InvalidToken, find_session
from accounts.models import ApiKey, ApiSession, Scope, User
from accounts.staff.demo_accounts import may_do_without
from core.rest.permissions import TallyPermission

CODE_WANTED = "second_factor_required"
CHALLENGE = 'Bearer realm="tally"'
Credential = ApiKey | ApiSession


def read_credential(request: HttpRequest) -> Credential | None:
    """Return the key or the log-in of a request; None without an Authorization header. Raises AuthenticationFailed."""
    header = request.META.get("HTTP_AUTHORIZATION", "")
    if not header:
        return None
    kind, _blank, text = header.partition(" ")
    text = text.strip()
    if kind.lower() != "bearer" or not text:
        raise AuthenticationFailed(_("Send `Authorization: Bearer <key or access token>`."))
    if not text.startswith(MARK):
        try:
            return find_session(text)
        except InvalidToken:
            raise AuthenticationFailed(_("The access token is not valid, or its log-in has ended.")) from None
    key = find_key(text)
    if key is None or not key.user.is_active or key.user.closes_at is not None:
        raise AuthenticationFailed(_("The API key is not valid."))
    note_use(key)
    return key


class BearerAuthentication(BaseAuthentication):
    """Sets REST framework's `request.user`, and the key or log-in as `request.auth`."""

    def authenticate(self, request: Request) -> tuple[User, Credential] | None:
        found = read_credential(cast(HttpRequest, request))
        return None if found is None else (found.user, found)

    def authenticate_header(self, _request: Request) -> str:
        """The `WWW-Authenticate` header of a 401."""
        return CHALLENGE


def has_scope(credential: Any, scope: str) -> bool:
    """Whether a key has the scope; a log-in has all of them."""
    return not isinstance(credential, ApiKey) or scope in credential.scopes


class AnyCaller(TallyPermission):
    """Any valid key or log-in."""

    described = "Any API key, or a log-in."

    def has_permission(self, request: Request, _view: Any) -> bool:
        return request.auth is not None


class LoggedIn(AnyCaller):
    """Only a log-in: a leaked key must not be able to make more keys or to take over the account."""

    described = "A log-in (access token). API keys are refused."
    message = _("API keys cannot do this. Log in with POST /api/v1/auth/token.")
    code = "login_required"

    @classmethod
    def takes_keys(cls, _method: str) -> bool:
        return False

    def has_permission(self, request: Request, _view: Any) -> bool:
        """Authenticated by an access token."""
        return isinstance(request.auth, ApiSession)


class LoggedInToChange(AnyCaller):
    """Any key may read; only a log-in may change."""

    described = "Any API key may read; only a log-in (access token) may change."
    message, code = LoggedIn.message, LoggedIn.code

    @classmethod
    def takes_keys(cls, method: str) -> bool:
        return method in SAFE_METHODS

    def has_permission(self, request: Request, _view: Any) -> bool:
        return isinstance(request.auth, ApiSession) or (request.auth is not None and request.method in SAFE_METHODS)


def requires_scope(scope: str, *, write: str = "") -> type[TallyPermission]:
    """Make a permission for log-ins and for keys with `scope`. If `write` is given, changes need that scope instead."""

    class ScopePermission(AnyCaller):
        described = f"An API key with the scope `{scope}`" + (f" (`{write}` to change)" if write else "")
        described += ", or a log-in."
        code = "scope_missing"

        def has_permission(self, request: Request, _view: Any) -> bool:
            needed = write if write and request.method not in SAFE_METHODS else scope
            self.message = _("The API key lacks the scope {scope}.").format(scope=needed)
            return request.auth is not None and has_scope(request.auth, needed)

    for known in filter(None, (scope, write)):
        Scope(known)  # raises ValueError at import for a scope that does not exist
    return ScopePermission


def requires_permission(name: str, *, write: str = "") -> type[TallyPermission]:
    """Make a permission for log-ins of staff who have this Django permission (`app.codename`).

    If `write` is given, changes need that permission instead.
    """

    class StaffPermission(LoggedIn):
        described = f"A log-in of staff, with a second factor and the permission `{name}`" + (
            f" (`{write}` to change)" if write else ""
        )
        described += "."

        def has_permission(self, request: Request, view: Any) -> bool:
            if not super().has_permission(request, view):
                return False
            needed = write if write and request.method not in SAFE_METHODS else name
            self.message, self.code = _("Your role does not allow this."), "permission_denied"
            user = cast(User, request.user)
            if not (user.is_staff and user.has_perm(needed)):
                return False
            self.message, self.code = _("Staff log in with a second factor. Set one up on the pages."), CODE_WANTED
            return cast(ApiSession, request.auth).is_confirmed or may_do_without(user)

    return StaffPermission
