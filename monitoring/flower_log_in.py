"""The limit of wrong passwords at Flower's log-in, by address. Flower itself has none."""

from typing import Any

from django.http import HttpRequest
from flower.views import BaseHandler
from tornado.web import Finish, HTTPError

from core.rest.problems import Problem
from core.rest.throttles import GuessLimit, RateLimited, count_try, demand_allowed

FLOWER = GuessLimit("flower", by_address=("5/m", "30/h"), by_account=())


def limit_wrong_tries() -> None:
    """Add the limit to Flower's log-in, for all its pages and its API. Call this once in a process."""
    log_in = BaseHandler.get_current_user

    def log_in_if_open(handler: Any) -> Any:
        """Return the user as Flower does.

        Raises Finish (429) while the address has too many wrong tries, even with the right password, and HTTPError
        (503) if tries cannot be counted.
        """
        if "Authorization" not in handler.request.headers:
            return log_in(handler)  # not a try: a browser's first request has no password
        request = _as_django_request(handler)
        try:
            demand_allowed(request, FLOWER, "")
            return _count_wrong_try(request, handler, log_in)
        except RateLimited as limited:
            _answer_too_many(handler, limited)
        except Problem as problem:  # the try cannot be counted
            raise HTTPError(503) from problem

    BaseHandler.get_current_user = log_in_if_open


def _count_wrong_try(request: HttpRequest, handler: Any, log_in: Any) -> Any:
    try:
        return log_in(handler)
    except HTTPError:
        count_try(request, FLOWER, "")
        raise


def _answer_too_many(handler: Any, limited: RateLimited) -> None:
    """Answer 429 and raise Finish. Tornado would clear the headers of an HTTPError."""
    handler.set_status(429)
    handler.set_header("Retry-After", str(int(limited.wait)))
    handler.set_header("Content-Type", "text/plain; charset=UTF-8")
    raise Finish(str(limited.detail))


def _as_django_request(handler: Any) -> HttpRequest:
    """A Django request with what tells the client's address.

    The peer is the socket's, because `--xheaders` would trust the headers of every client.
    """
    address = handler.request.connection.context.address
    request = HttpRequest()
    request.META["REMOTE_ADDR"] = address[0] if isinstance(address, tuple) else "unknown"
    request.META["HTTP_X_FORWARDED_FOR"] = handler.request.headers.get("X-Forwarded-For", "")
    return request
