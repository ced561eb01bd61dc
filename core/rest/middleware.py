"""The middleware of both APIs: request ids, rate-limit headers, ETags, and the refusal of bodies that are too large."""

import re
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, cast
from uuid import uuid4

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.middleware.http import ConditionalGetMiddleware
from django.utils import timezone
from django.utils.cache import patch_vary_headers
from django.utils.decorators import sync_and_async_middleware

from core.rest.problems import BY_STATUS, Kind, problem_response

OPENAI_PATHS = "/v1/"
PATHS = ("/api/v1/", OPENAI_PATHS)
REFUSED_BODY = "tally.refused_body"  # in the ASGI scope: the BodyRefused of a request that comes without its body
_GOOD_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_conditional = ConditionalGetMiddleware(lambda _request: cast(Any, None))  # only its process_response is used

Handler = Callable[[HttpRequest], HttpResponseBase] | Callable[[HttpRequest], Awaitable[HttpResponseBase]]


class BodyRefused(Exception):
    """The body of a request was refused. `headers` go into the answer."""

    def __init__(self, kind: Kind, detail: str, headers: Mapping[str, str] = MappingProxyType({})) -> None:
        super().__init__(detail)
        self.kind, self.detail, self.headers = kind, detail, headers


@sync_and_async_middleware
def api_middleware(get_response: Any) -> Handler:
    """Wrap the requests under PATHS. All others pass."""
    if iscoroutinefunction(get_response):

        async def handle_async(request: HttpRequest) -> HttpResponseBase:
            if not request.path.startswith(PATHS):
                return cast(HttpResponseBase, await get_response(request))
            refused = _prepare(request)
            return _finish(request, refused or await get_response(request))

        return handle_async

    def handle(request: HttpRequest) -> HttpResponseBase:
        if not request.path.startswith(PATHS):
            return cast(HttpResponseBase, get_response(request))
        refused = _prepare(request)
        return _finish(request, refused or get_response(request))

    return handle


def refused_body(request: HttpRequest) -> BodyRefused | None:
    """Why the body of a request was refused, which then comes without one; None if it was not."""
    scope: dict[str, BodyRefused] = getattr(request, "scope", {})
    return scope.get(REFUSED_BODY)


def _prepare(request: HttpRequest) -> HttpResponseBase | None:
    """Set the request's id and start time. Return the answer to a body that is too large or was refused before."""
    sent = request.headers.get("X-Request-Id", "")
    request.begun_at = timezone.now()  # type: ignore[attr-defined]
    request.request_id = sent if _GOOD_ID.fullmatch(sent) else uuid4().hex  # type: ignore[attr-defined]
    if (refused := refused_body(request)) is not None:
        return _refuse(refused.kind, request, detail=refused.detail, headers=refused.headers)
    try:
        length = int(request.headers.get("Content-Length") or 0)
    except ValueError:
        return _refuse(BY_STATUS[400], request, detail="Content-Length is not a number.")
    if length > settings.API_BODY_BYTES:
        detail = f"The body has {length} bytes; at most {settings.API_BODY_BYTES} are taken."
        return _refuse(BY_STATUS[413], request, detail=detail)
    return None


def _refuse(
    kind: Kind, request: HttpRequest, *, detail: str = "", headers: Mapping[str, str] = MappingProxyType({})
) -> HttpResponseBase:
    """A problem response. Under /v1/ it also has `error`, which clients of OpenAI's API read."""
    error = {"message": detail or kind.title, "type": "invalid_request_error", "param": None, "code": kind.code}
    extra = {"error": error} if request.path.startswith("/v1/") else {}
    response = problem_response(kind, request, detail=detail, **extra)
    for name, value in headers.items():
        response.headers[name] = value
    return response


def _add_openai_headers(request: HttpRequest, response: HttpResponseBase) -> None:
    """Add the headers of OpenAI's answers that its client libraries read."""
    taken = timezone.now() - request.begun_at  # type: ignore[attr-defined]
    response.headers["openai-processing-ms"] = str(max(0, round(taken.total_seconds() * 1000)))
    for of, name in (("requests", "rate_usage"), ("tokens", "token_usage")):
        usage = getattr(request, name, None)
        for header, value in usage.openai_headers(of).items() if usage else ():
            response.headers[header] = value


def _finish(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    response.headers["X-Request-Id"] = request.request_id  # type: ignore[attr-defined]
    usage = getattr(request, "rate_usage", None)
    if usage is not None:
        for name, value in usage.headers().items():
            response.headers[name] = value
    if request.path.startswith(OPENAI_PATHS):
        _add_openai_headers(request, response)
    if getattr(request, "is_replayed", False):
        response.headers["Idempotent-Replayed"] = "true"
    if not response.has_header("Cache-Control"):
        response.headers["Cache-Control"] = "private, no-cache"  # stored, but revalidated with its ETag
    if not response.streaming and not response.has_header("Content-Length"):
        response.headers["Content-Length"] = str(len(cast(HttpResponse, response).content))
    patch_vary_headers(response, ["Authorization"])
    return _conditional.process_response(request, cast(Any, response))
