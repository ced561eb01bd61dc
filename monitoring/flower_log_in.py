"""How often an address may try the password of Flower. Flower itself counts nothing."""

from typing import Any

from django.http import HttpRequest
from flower.views import BaseHandler
from tornado.web import Finish, HTTPError

from core.rest.problems import Problem
from core.rest.throttles import GuessLimit, RateLimited, count_try, demand_allowed

FLOWER = GuessLimit("flower", by_address=("5/m", "30/h"), by_account=())


def limit_wrong_tries() -> None:
    """Put the limit before the log-in of Flower, for all its pages and its API. Once in a process."""
    log_in = BaseHandler.get_current_user

    def log_in_if_open(handler: Any) -> Any:
        """Who asks, as Flower says. Raises Finish (429) while the address is shut, also for the right password."""
        if "Authorization" not in handler.request.headers:
            return log_in(handler)  # no try: a browser asks without a password first
        request = _as_django_request(handler)
        try:
            demand_allowed(request, FLOWER, "")
            return _count_wrong_try(request, handler, log_in)
        except RateLimited as limited:
            _answer_too_many(handler, limited)
        except Problem as problem:  # it cannot be counted
            raise HTTPError(503) from problem

    BaseHandler.get_current_user = log_in_if_open


def _count_wrong_try(request: HttpRequest, handler: Any, log_in: Any) -> Any:
    try:
        return log_in(handler)
    except HTTPError:
        count_try(request, FLOWER, "")
        raise


def _answer_too_many(handler: Any, limited: RateLimited) -> None:
    """Answer at once. Tornado would clear the headers of an HTTPError. Raises Finish."""
    handler.set_status(429)
    handler.set_header("Retry-After", str(int(limited.wait)))
    handler.set_header("Content-Type", "text/plain; charset=UTF-8")
    raise Finish(str(limited.detail))


def _as_django_request(handler: Any) -> HttpRequest:
    """What says where a request came from. The peer is the socket's: `--xheaders` would believe anybody."""
    address = handler.request.connection.context.address
    request = HttpRequest()
    request.META["REMOTE_ADDR"] = address[0] if isinstance(address, tuple) else "unknown"
    request.META["HTTP_X_FORWARDED_FOR"] = handler.request.headers.get("X-Forwarded-For", "")
    return request
