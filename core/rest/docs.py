"""The documentation: the schema, and two readers of it whose scripts come from this host.

The policy needs no `unsafe-inline`: the two style elements that ReDoc makes are named by their hashes. It also asks
a foreign host for the logo of its makers; the policy refuses that, so nothing leaves.
"""

import json
from functools import cache

from csp.constants import SELF
from csp.decorators import csp_update
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe
from drf_spectacular.generators import SchemaGenerator

# Of the bundle that is pinned: an empty element that rules are inserted into, and one small rule.
REDOC_STYLES = (
    "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='",
    "'sha256-QMIg+bpjm3JdElJ388KYke01izlUW0UoNOeKjpMxdgc='",
)


@require_safe
def schema(_request: HttpRequest) -> HttpResponse:
    """OpenAPI 3, as JSON."""
    return HttpResponse(_render_schema(), content_type="application/json")


@require_safe
def swagger(request: HttpRequest) -> HttpResponse:
    """Swagger UI."""
    return render(request, "api/swagger.html")


@csp_update({"style-src": [SELF, *REDOC_STYLES]})
@require_safe
def redoc(request: HttpRequest) -> HttpResponse:
    """ReDoc."""
    return render(request, "api/redoc.html")


@cache
def _render_schema() -> bytes:
    """Made once a process: it depends on the code alone."""
    document = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    return json.dumps(document).encode()
