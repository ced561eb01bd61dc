"""The views of `/v1/`. They are asynchronous, so that waiting for an answer needs no database connection."""

import logging
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt

from inference.models import CatalogueModel
from inference.openai.access import admit
from inference.openai.answers import answer
from inference.openai.errors import OpenAIError, from_service
from inference.openai.format import CHAT, TEXT
from inference.openai.requests import find_model, read_chat, read_text_completion, unknown_model
from inference.relay.following import in_own_thread
from inference.weights.model_cards import describe_models

logger = logging.getLogger(__name__)

View = Callable[..., Coroutine[Any, Any, HttpResponseBase]]


METHODS = {"GET": ("GET", "HEAD", "OPTIONS"), "POST": ("POST", "OPTIONS")}  # all methods that a view of the key accepts


def openai_view(method: str) -> Callable[[View], View]:
    """Decorate a view: refuse other methods, and convert every exception to an error in OpenAI's format."""
    allowed = METHODS[method]
    allow = {"Allow": ", ".join(allowed)}

    def decorate(view: View) -> View:
        @csrf_exempt
        @wraps(view)
        async def handle(request: HttpRequest, **path: Any) -> HttpResponseBase:
            if request.method == "OPTIONS":
                return HttpResponse(status=204, headers=allow)
            if request.method not in allowed:
                message = _("Use {method} here.").format(method=method)
                return OpenAIError(405, "method_not_allowed", message, headers=allow).response()
            try:
                return await view(request, **path)
            except Exception as error:  # noqa: BLE001  clients must always get JSON, never an HTML page
                return _refuse(request, error)

        return handle

    return decorate


@openai_view("GET")
async def models(request: HttpRequest) -> HttpResponseBase:
    """List the models that are available and that the caller's key may use."""

    def read() -> list[dict[str, Any]]:
        _user, key = admit(request)
        offered = CatalogueModel.objects.offered().filter(unavailable_reason="")
        return describe_models(offered.filter(pk__in=key.allowed_models) if key and key.allowed_models else offered)

    return JsonResponse({"object": "list", "data": await in_own_thread(read)})


@openai_view("GET")
async def model(request: HttpRequest, key: str) -> HttpResponseBase:
    """Describe one of the models that `models` lists."""

    def read() -> dict[str, Any]:
        _user, api_key = admit(request)
        found = find_model(key)
        if not found.is_available or (api_key and not api_key.may_ask(key)):
            raise unknown_model(key)
        return describe_models([found])[0]

    return JsonResponse(await in_own_thread(read))


@openai_view("POST")
async def chat_completions(request: HttpRequest) -> HttpResponseBase:
    """An answer to a conversation."""
    return await answer(request, CHAT, read_chat)


@openai_view("POST")
async def completions(request: HttpRequest) -> HttpResponseBase:
    """A continuation of a text."""
    return await answer(request, TEXT, read_text_completion)


@csrf_exempt
async def unknown(_request: HttpRequest) -> HttpResponse:
    """Every other path under `/v1/`: a 404."""
    message = _(
        "There is no such path. Tally has GET /v1/models, GET /v1/models/{model}, POST /v1/chat/completions and"
        " POST /v1/completions: the base address of a client ends with /v1."
    )
    return OpenAIError(404, "unknown_url", message).response()


def _refuse(request: HttpRequest, error: Exception) -> HttpResponse:
    try:
        return from_service(error).response()
    except Exception:
        logger.exception("%s %s failed", request.method, request.path)
        message = _("Something went wrong on our side. Try again; quote the X-Request-Id if it stays.")
        return OpenAIError(500, "internal_error", message, kind="server_error", may_retry=True).response()
