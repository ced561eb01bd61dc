"""Health checks and metrics are answered before all else.

Load balancers and Prometheus ask by address, under any Host and over plain http.
"""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase
from django.urls import resolve

from monitoring.prometheus.views import metrics
from monitoring.views import healthz, readyz

VIEWS = {"/healthz": healthz, "/readyz": readyz, "/metrics": metrics}


def health_middleware(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """The first middleware of all. What is neither passes."""

    def respond(request: HttpRequest) -> HttpResponseBase:
        view = VIEWS.get(request.path_info)
        if view is None:
            return get_response(request)
        request.resolver_match = resolve(request.path_info)  # by which requests are counted
        response = view(request)
        response["Content-Length"] = str(len(response.content))
        return response

    return respond
