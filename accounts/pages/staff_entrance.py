"""The middleware before the pages of staff: it leads who has not given a second factor to it, and back afterwards."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponseRedirect
from django.urls import ResolverMatch
from django.utils.deprecation import MiddlewareMixin

from accounts.login.second_factor import has_second_factor
from accounts.staff.demo_accounts import may_do_without
from accounts.staff.entrance import BACK, is_confirmed, missing_step, question_for, works_here

ROUTES = ("admin/", "ops/")
# Logging in and out; and what answers nginx, which understands no redirect.
OPEN = ("admin:login", "admin:logout", "monitoring:flower_entrance")
FACTOR_ROUTES = "accounts/2fa/"
QUESTIONS = ("mfa_authenticate", "mfa_reauthenticate", "mfa_reauthenticate_webauthn")


class StaffEntranceMiddleware(MiddlewareMixin):
    """Stands before every page under ROUTES, also those that are added later, and before the change of a factor."""

    def process_view(
        self, request: HttpRequest, _view: Callable[..., Any], _words: list[Any], _options: dict[str, Any]
    ) -> HttpResponseRedirect | None:
        """Return where to go first, or None where the page may answer. Pages refuse strangers and customers."""
        match = request.resolver_match
        if match is None or match.view_name in OPEN:
            return None
        if match.route.startswith(ROUTES):
            return _lead_staff(request)
        if match.route.startswith(FACTOR_ROUTES) and match.view_name not in QUESTIONS:
            return _protect_the_factor(request)
        return None


def _lead_staff(request: HttpRequest) -> HttpResponseRedirect | None:
    if not works_here(request.user):
        return None
    back = _page_to_come_back_to(request)
    step = missing_step(request, back=back)
    if step is not None:
        request.session[BACK] = back
        return HttpResponseRedirect(step)
    request.session.pop(BACK, None)
    return None


def _protect_the_factor(request: HttpRequest) -> HttpResponseRedirect | None:
    """Ask staff who have a factor for it before it is shown or changed.

    Otherwise a session that gave the password alone could replace the factor by one of its own, and enter with that.
    """
    user: Any = request.user
    if not works_here(user) or is_confirmed(request) or may_do_without(user) or not has_second_factor(user):
        return None
    return HttpResponseRedirect(question_for(user, back=request.path))


def _page_to_come_back_to(request: HttpRequest) -> str:
    """The page that was asked for; the first page of staff instead of a form, or of a part of a page."""
    is_page = request.method in ("GET", "HEAD") and not request.headers.get("HX-Request")
    if is_page:
        return request.get_full_path()
    match: ResolverMatch = request.resolver_match  # type: ignore[assignment]
    return f"/{match.route.partition('/')[0]}/"
