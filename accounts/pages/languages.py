"""The language of a page: which one it is, and how readers choose another.

It is the one that the address names (`?lang=de`), else the customer's own, else the one in the cookie, else the
browser's. Caches that others share keep only pages whose address names the language (`public_pages`), so that nobody
gets a page in the language of somebody else. The API under /api/v1/ answers in the language that the client accepts.

Mails are written in the customer's own language, or else in the one that is active when they are made.
"""

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.middleware.locale import LocaleMiddleware
from django.utils import translation
from django.views.decorators.http import require_POST
from django.views.i18n import set_language

from accounts.models import User
from accounts.profile import change_profile
from core.rest.middleware import PATHS as API_PATHS

PARAMETER = "lang"


@require_POST
def choose_language(request: HttpRequest) -> HttpResponseBase:
    """The menu of customers: keep the language with the account and in the cookie, and go back to the page."""
    chosen = request.POST.get("language", "")
    if isinstance(request.user, User) and chosen in dict(settings.LANGUAGES):
        change_profile(user=request.user, language=chosen)
    answer: HttpResponseBase = set_language(request)
    return answer


def named_language(request: HttpRequest) -> str | None:
    """The language that the address of a page names, if it is one of ours."""
    if request.path.startswith(API_PATHS):
        return None
    named = request.GET.get(PARAMETER)
    return named if named in dict(settings.LANGUAGES) else None


def language_of_customer(request: HttpRequest) -> str:
    """The language that a customer has chosen for the account; empty for strangers and for who has chosen none."""
    chosen = getattr(request.user, "language", "")
    return chosen if chosen in dict(settings.LANGUAGES) else ""


class LanguageMiddleware(LocaleMiddleware):
    """Activates the language of each request. A language that an address names is remembered in the cookie."""

    def process_request(self, request: HttpRequest) -> None:
        """Take the language of the address, of the cookie or of the browser. No session is read for that."""
        _activate(request, named_language(request) or translation.get_language_from_request(request))

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], _words: list[Any], _options: dict[str, Any]
    ) -> None:
        """Take the customer's own language, where the page may know who reads it and the address names none."""
        if named_language(request) or getattr(view, "is_public", False) or request.path.startswith(API_PATHS):
            return
        if settings.SESSION_COOKIE_NAME in request.COOKIES and (chosen := language_of_customer(request)):
            _activate(request, chosen)

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Say which language it is, and remember it if the address named it. Public pages lose the cookie again."""
        answer: HttpResponseBase = super().process_response(request, response)
        named = named_language(request)
        if named and named != request.COOKIES.get(settings.LANGUAGE_COOKIE_NAME):
            answer.set_cookie(
                settings.LANGUAGE_COOKIE_NAME,
                named,
                max_age=settings.LANGUAGE_COOKIE_AGE,
                secure=settings.LANGUAGE_COOKIE_SECURE,
                httponly=settings.LANGUAGE_COOKIE_HTTPONLY,
                samesite=settings.LANGUAGE_COOKIE_SAMESITE,  # type: ignore[arg-type]  # one of its words
            )
        return answer


def _activate(request: HttpRequest, language: str) -> None:
    translation.activate(language)
    request.LANGUAGE_CODE = translation.get_language()
