"""Errors of the API: problem details (RFC 9457) that say what happened, where, and what to do about it.

Services raise their own exceptions. `explain` registers once which problem each becomes, so views need no `try`.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, JsonResponse
from rest_framework import exceptions, status
from rest_framework.response import Response
from rest_framework.views import set_rollback

logger = logging.getLogger(__name__)

CONTENT_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Kind:
    """One sort of problem. `action` is what the caller can do about it."""

    status: int
    code: str
    title: str
    action: str


class Problem(exceptions.APIException):
    """A problem that a view raises itself; `extra` adds members such as figures."""

    def __init__(self, kind: Kind, detail: str = "", **extra: Any) -> None:
        super().__init__(detail or kind.title)
        self.status_code = kind.status
        self.kind = kind
        self.extra = extra


BY_STATUS = {
    kind.status: kind
    for kind in (
        Kind(400, "invalid_request", "The request is malformed", "Correct the fields named under `errors`."),
        Kind(401, "not_authenticated", "Authentication is needed", "Send `Authorization: Bearer` with a valid token."),
        Kind(402, "insufficient_credits", "The balance is too low", "Buy credits with POST /api/v1/topups."),
        Kind(403, "permission_denied", "This is not allowed", "Use a key with the scope, or an account with the role."),
        Kind(404, "not_found", "There is no such thing", "Check the address and the identifier."),
        Kind(405, "method_not_allowed", "The method is not allowed here", "Use a method of the `Allow` header."),
        Kind(409, "conflict", "The request conflicts with an earlier one", "Look at what the earlier request made."),
        Kind(413, "body_too_large", "The body is too large", "Send less."),
        Kind(415, "unsupported_media_type", "The body has the wrong type", "Send `Content-Type: application/json`."),
        Kind(422, "refused", "The request is understood and refused", "Read `detail`, change the request."),
        Kind(429, "rate_limited", "Too many requests", "Wait for the seconds in `Retry-After`."),
        Kind(500, "internal_error", "Something went wrong on our side", "Try again; quote `request_id` if it stays."),
        Kind(503, "unavailable", "The service is unavailable for now", "Try again in a minute."),
    )
}
INVALID = BY_STATUS[400]
NOT_FOUND = BY_STATUS[404]
CONFLICT = BY_STATUS[409]
REFUSED = BY_STATUS[422]
IDEMPOTENCY_CONFLICT = Kind(
    409,
    "idempotency_conflict",
    "The idempotency key was used for another request",
    "Use a new `Idempotency-Key` for a new request.",
)

Figures = Callable[[Any], Mapping[str, Any]]
_explained: dict[type[Exception], tuple[Kind, Figures]] = {}


def explain(exception: type[Exception], kind: Kind, figures: Figures = lambda _error: {}) -> None:
    """Register the problem that an exception of a service becomes in every view.

    `figures` returns further members of the problem from the exception. They may include `detail`, and `wait_seconds`,
    which also goes into `Retry-After`.
    """
    _explained[exception] = (kind, figures)


def handle_exception(error: Exception, context: Mapping[str, Any]) -> Response:
    """REST framework's EXCEPTION_HANDLER: every exception becomes a problem; an unknown one becomes a logged 500."""
    set_rollback()
    request = context["request"]
    body, headers = describe(error, request)
    return Response(body, status=body["status"], headers=headers, content_type=CONTENT_TYPE)


def describe(error: Exception, request: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the body and the headers of the answer to an exception."""
    if isinstance(error, Http404):
        error = exceptions.NotFound()
    elif isinstance(error, PermissionDenied):
        error = exceptions.PermissionDenied()
    for exception, (kind, figures) in _explained.items():
        if isinstance(error, exception):
            members = {"detail": str(error), **figures(error)}
            wait = members.get("wait_seconds")
            headers = {} if wait is None else {"Retry-After": str(wait)}
            return problem_body(kind, request, **members), headers
    if isinstance(error, Problem):
        return problem_body(error.kind, request, detail=str(error.detail), **error.extra), {}
    if isinstance(error, exceptions.APIException):
        return _describe_framework_error(error, request)
    logger.error("%s %s failed (request %s)", request.method, request.path, _request_id(request), exc_info=error)
    return problem_body(BY_STATUS[500], request), {}


def problem_body(kind: Kind, request: Any, *, detail: str = "", **extra: Any) -> dict[str, Any]:
    """The members of one problem."""
    return {
        "type": f"urn:tally:problem:{kind.code}",
        "title": kind.title,
        "status": kind.status,
        "code": kind.code,
        "detail": detail or kind.title,
        "action": kind.action,
        "request_id": _request_id(request),
        **extra,
    }


def problem_response(kind: Kind, request: HttpRequest, *, detail: str = "", **extra: Any) -> JsonResponse:
    """The response with a problem, for code outside REST framework's views."""
    body = problem_body(kind, request, detail=detail, **extra)
    return JsonResponse(body, status=kind.status, content_type=CONTENT_TYPE)


def _describe_framework_error(error: exceptions.APIException, request: Any) -> tuple[dict[str, Any], dict[str, str]]:
    headers = {}
    auth_header = getattr(error, "auth_header", None)
    if auth_header:
        headers["WWW-Authenticate"] = auth_header
    wait = getattr(error, "wait", None)
    if wait is not None:
        headers["Retry-After"] = str(max(1, int(wait)))
    fallback = BY_STATUS[500 if error.status_code >= status.HTTP_500_INTERNAL_SERVER_ERROR else 400]
    kind = BY_STATUS.get(error.status_code, fallback)
    if isinstance(error, exceptions.ValidationError):
        return problem_body(kind, request, detail=_first_error(error.detail), errors=_by_field(error.detail)), headers
    code = error.get_codes()
    if isinstance(code, str) and code not in ("error", "parse_error", "throttled"):
        kind = Kind(kind.status, code, kind.title, kind.action)
    return problem_body(kind, request, detail=str(error.detail)), headers


def _by_field(detail: Any, path: str = "") -> dict[str, list[str]]:
    """Errors by dotted path of the field; errors of the whole body are under `body`."""
    found: dict[str, list[str]] = {}
    children: list[tuple[str, Any]] = []
    if isinstance(detail, dict):
        children = [(str(name), value) for name, value in detail.items()]
    elif isinstance(detail, list):
        texts = [str(value) for value in detail if not isinstance(value, dict | list)]
        if texts:
            found[path or "body"] = texts
        children = [(str(place), value) for place, value in enumerate(detail) if isinstance(value, dict | list)]
    else:
        found[path or "body"] = [str(detail)]
    for name, value in children:
        step = "body" if name == "non_field_errors" else name
        found |= _by_field(value, f"{path}.{step}" if path else step)
    return found


def _first_error(detail: Any) -> str:
    field, texts = next(iter(_by_field(detail).items()), ("body", [INVALID.title]))
    return f"{field}: {texts[0]}"


def _request_id(request: Any) -> str:
    return str(getattr(request, "request_id", ""))
