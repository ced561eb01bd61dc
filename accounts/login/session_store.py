"""The sessions of the pages: Django's own in the database, which keep their name while SECRET_KEY is being replaced.

Django checks a session with the earlier keys too (SECRET_KEY_FALLBACKS). It then gives it another name and deletes the
row of the earlier one. A browser asks for several things at once: the requests that are on their way with the earlier
name would find no session, and their answers would delete the cookie. So a session that an earlier key made is made
good with the new key under its own name. At a log-in, and after a change of the password, it gets another one as usual.
"""

from django.contrib import auth
from django.contrib.auth import middleware
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.db import SessionStore as DatabaseSessionStore
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone
from django.utils.functional import SimpleLazyObject

from accounts.login import personal
from accounts.login.visits import note_visit


class SessionStore(DatabaseSessionStore):
    """Django requires this name."""

    keeps_its_name = False

    def cycle_key(self) -> None:
        """Give the session another name, unless its user is just being read."""
        if not self.keeps_its_name:
            super().cycle_key()


class AuthenticationMiddleware(middleware.AuthenticationMiddleware):
    """Django's own; but the session keeps its name while its user is read."""

    def process_request(self, request: HttpRequest) -> None:
        """Set `request.user`, which is read from the session at its first use. Times are in UTC until then."""
        timezone.deactivate()
        super().process_request(request)
        request.user = SimpleLazyObject(lambda: _user_of(request))  # type: ignore[assignment]

    def process_response(self, _request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Leave no user's time zone to the next request of this thread."""
        timezone.deactivate()
        return response


def _user_of(request: HttpRequest) -> AbstractBaseUser | AnonymousUser:
    request.session.keeps_its_name = True  # type: ignore[attr-defined]
    try:
        user = auth.get_user(request)
    finally:
        request.session.keeps_its_name = False  # type: ignore[attr-defined]
    if user.is_authenticated:
        note_visit(request)
        personal.activate(user)
    return user
