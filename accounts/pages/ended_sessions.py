"""What becomes of a page whose log-in or form is no longer good, and of answers that would be an empty window.

A page lives on in its tab while its session ends elsewhere. Whatever it asks then leads the whole window to the log-in
and from there back to the page; nothing of another page is ever put into a part of it.
"""

from typing import cast
from urllib.parse import parse_qs, urlencode, urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.http.response import HttpResponseRedirectBase
from django.shortcuts import render, resolve_url
from django.urls import reverse
from django.utils.deprecation import MiddlewareMixin
from django_htmx.http import HttpResponseClientRedirect

from accounts.callers.requests import Request
from core.rest.middleware import PATHS as API_PATHS

LOG_IN_PAGES = ("account_login", "account_reauthenticate")
FULL_LOG_IN = b"event: login\ndata:\n\n"  # tells the reader of an event stream to load its page anew
GONE = (403, 404, 410)
WORDLESS = 405  # Django answers it without a word


class PageMiddleware(MiddlewareMixin):
    """Leads whole windows, where htmx, an event stream or an old form asked for a part of a page."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """The response, or what the page can use instead of it."""
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
    """A form whose token is not good: the page is older than the log-in, or the browser keeps no cookies."""
    asked = cast(Request, request)
    if not asked.htmx:
        return render(request, "403_csrf.html", {"back": _page_of(asked)}, status=403)
    if request.user.is_authenticated:
        return HttpResponse(status=403, headers={"HX-Refresh": "true"})
    return _lead_to(f"{resolve_url(settings.LOGIN_URL)}?{urlencode({'next': _page_of(asked)})}")


def _redirect(request: Request, response: HttpResponseRedirectBase) -> HttpResponseBase:
    """The same redirect, followed by the whole window; a log-in leads back to the page, not to a part of it."""
    is_log_in = urlsplit(response.url).path in [reverse(name) for name in LOG_IN_PAGES]
    if is_log_in and "text/event-stream" in request.headers.get("Accept", ""):
        return HttpResponse(FULL_LOG_IN, content_type="text/event-stream", headers={"Cache-Control": "no-store"})
    url = _leading_back(response.url, request) if is_log_in else response.url
    if request.htmx:
        return _lead_to(url) if is_log_in else HttpResponseClientRedirect(url)
    response["Location"] = url
    return response


def _leading_back(url: str, request: Request) -> str:
    """The log-in's address with the page as where to go on, when a form or a part of the page had asked."""
    path, _mark, query = url.partition("?")
    fields = parse_qs(query)
    if "next" not in fields or (request.method in ("GET", "HEAD") and not request.htmx):
        return url
    return f"{path}?{urlencode(fields | {'next': [_page_of(request)]}, doseq=True)}"


def _lead_to(url: str) -> HttpResponse:
    """An answer that is no success, so that the page keeps its draft, and that sends its window elsewhere."""
    return HttpResponse(status=401, headers={"HX-Redirect": url})


def _page_of(request: Request) -> str:
    """The address of the page that asked, as a path of this site; the first page where that is not known."""
    asked_from = request.htmx.current_url or request.headers.get("Referer") or ""
    parts = urlsplit(asked_from)
    if not parts.path.startswith("/") or parts.netloc != request.get_host():
        return resolve_url(settings.LOGIN_REDIRECT_URL)
    return parts.path + (f"?{parts.query}" if parts.query else "")


def _leave_the_page_as_it_is(response: HttpResponseBase) -> HttpResponseBase:
    """An error page is for a window. What is gone shows once the page is loaded anew; what broke, the script says."""
    if response.status_code in GONE and not response.has_header("HX-Redirect"):
        response["HX-Refresh"] = "true"
    response["HX-Reswap"] = "none"
    return response


def _explain_method(request: Request, response: HttpResponseBase) -> HttpResponse:
    page = render(request, "405.html", {"back": _page_of(request)}, status=response.status_code)
    page["Allow"] = response["Allow"]
    return page
