"""Health checks are answered before all else: a load balancer probes by address, under any Host and over plain http."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase

from monitoring.views import healthz, readyz

VIEWS = {"/healthz": healthz, "/readyz": readyz}


def health_middleware(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """The first middleware of all. What is no health check passes."""

    def respond(request: HttpRequest) -> HttpResponseBase:
        view = VIEWS.get(request.path_info)
        if view is None:
            return get_response(request)
        response = view(request)
        response["Content-Length"] = str(len(response.content))
        return response

    return respond
