"""Answers to requests of a page whose log-in or form has expired, and pages for errors that have no text.

A page stays open in its tab while its session ends elsewhere. Its next request then leads the whole window to the
log-in, and from there back to the page. The log-in page is never inserted into a part of the open page.
"""

from typing import cast
from urllib.parse import parse_qs, urlencode, urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.http.response import HttpResponseRedirectBase
from django.shortcuts import render, resolve_url
from django.urls import reverse
from django.utils import translation
from django.utils.deprecation import MiddlewareMixin
from django_htmx.http import HttpResponseClientRedirect, reswap, retarget

from accounts.callers.requests import Request
from accounts.pages.languages import language_of_customer
from core.rest.middleware import PATHS as API_PATHS
from core.rest.middleware import BodyRefused, refused_body

LOG_IN_PAGES = ("account_login", "account_reauthenticate", "mfa_reauthenticate", "mfa_reauthenticate_webauthn")
FULL_LOG_IN = b"event: login\ndata:\n\n"  # tells the reader of an event stream to load its page anew
GONE = (403, 404, 410)
TOO_LARGE = 413
WORDLESS = 405  # Django's answer to it is empty


class PageMiddleware(MiddlewareMixin):
    """Redirects the whole window if htmx, an event stream or an old form asked for a part of a page.

    A form that was too large is answered here: the log-in and the language are known by now, and no view is called.
    """

    def process_request(self, request: HttpRequest) -> HttpResponse | None:
        """Return the answer to a refused body, or None."""
        refused = refused_body(request)
        if refused is None:
            return None
        # The customer's own language becomes active only with a view.
        with translation.override(language_of_customer(request) or translation.get_language()):
            return _explain_body(cast(Request, request), refused)

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Return the response, or another one that the page can handle."""
        if request.path.startswith(API_PATHS):
            return response
        request = cast(Request, request)
        if isinstance(response, HttpResponseRedirectBase) and response.has_header("Location"):
            return _redirect(request, response)
        if request.htmx and response.status_code >= 400 and not response.has_header("HX-Retarget"):
            return _leave_the_page_as_it_is(response)
        if response.status_code == WORDLESS and not response.streaming:
            return _explain_method(request, response)
        return response


def csrf_failed(request: HttpRequest, reason: str = "") -> HttpResponse:  # noqa: ARG001  Django passes it
    """Answer a form with a wrong CSRF token: its page is older than the log-in, or the browser keeps no cookies."""
    asked = cast(Request, request)
    if not asked.htmx:
        return render(request, "403_csrf.html", {"back": _page_of(asked)}, status=403)
    if request.user.is_authenticated:
        return HttpResponse(status=403, headers={"HX-Refresh": "true"})
    return _lead_to(f"{resolve_url(settings.LOGIN_URL)}?{urlencode({'next': _page_of(asked)})}")


def _redirect(request: Request, response: HttpResponseRedirectBase) -> HttpResponseBase:
    """Make the whole window follow the redirect. From a log-in it comes back to the page, not to a part of it."""
    is_log_in = urlsplit(response.url).path in [reverse(name) for name in LOG_IN_PAGES]
    if is_log_in and "text/event-stream" in request.headers.get("Accept", ""):
        return HttpResponse(FULL_LOG_IN, content_type="text/event-stream", headers={"Cache-Control": "no-store"})
    url = _leading_back(response.url, request) if is_log_in else response.url
    if request.htmx:
        return _lead_to(url) if is_log_in else HttpResponseClientRedirect(url)
    response["Location"] = url
    return response


def _leading_back(url: str, request: Request) -> str:
    """The log-in's URL. If a form or a part of a page made the request, `next` in it is the URL of that page."""
    path, _mark, query = url.partition("?")
    fields = parse_qs(query)
    if "next" not in fields or (request.method in ("GET", "HEAD") and not request.htmx):
        return url
    return f"{path}?{urlencode(fields | {'next': [_page_of(request)]}, doseq=True)}"


def _lead_to(url: str) -> HttpResponse:
    """Redirect the window through htmx. The status is an error, so that the page keeps its draft."""
    return HttpResponse(status=401, headers={"HX-Redirect": url})


def _page_of(request: Request) -> str:
    """The path and query of the page that made the request; the first page of the site if that is unknown."""
    asked_from = request.htmx.current_url or request.headers.get("Referer") or ""
    parts = urlsplit(asked_from)
    if not parts.path.startswith("/") or parts.netloc != request.get_host():
        return resolve_url(settings.LOGIN_REDIRECT_URL)
    return parts.path + (f"?{parts.query}" if parts.query else "")


def _leave_the_page_as_it_is(response: HttpResponseBase) -> HttpResponseBase:
    """Keep an error page out of the open page.

    If the requested thing is gone, the page is reloaded and shows that. The page's script reports other errors.
    """
    if response.status_code in GONE and not response.has_header("HX-Redirect"):
        response["HX-Refresh"] = "true"
    response["HX-Reswap"] = "none"
    return response


def _explain_body(request: Request, refused: BodyRefused) -> HttpResponse:
    """A page for people, whose form was too large; words for programs, which packed their body wrongly."""
    status = refused.kind.status
    if status != TOO_LARGE:
        return HttpResponse(str(refused), status=status, content_type="text/plain", headers=refused.headers)
    context = {"back": _page_of(request), "most_bytes": settings.DATA_UPLOAD_MAX_MEMORY_SIZE}
    if not request.htmx:
        return render(request, "413.html", context, status=status)
    return reswap(retarget(render(request, "_too_large.html", context, status=status), "#compose-error"), "innerHTML")


def _explain_method(request: Request, response: HttpResponseBase) -> HttpResponse:
    page = render(request, "405.html", {"back": _page_of(request)}, status=response.status_code)
    page["Allow"] = response["Allow"]
    return page
