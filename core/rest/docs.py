"""The API documentation: the OpenAPI schema, and Swagger UI and ReDoc, whose scripts come from this host.

The content security policy needs no `unsafe-inline`: it names ReDoc's two style elements by their hashes. ReDoc also
requests its makers' logo from a foreign host; the policy blocks that request.
"""

import json
from functools import cache

from csp.constants import SELF
from csp.decorators import csp_update
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import translation
from django.views.decorators.http import require_safe
from drf_spectacular.generators import SchemaGenerator

# Hashes for the pinned ReDoc bundle: an empty element, into which it inserts rules, and one small rule.
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
    """The schema as JSON, in English. It depends only on the code, so each process makes it once."""
    with translation.override("en"):  # whatever the language of who asks first
        document = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
        return json.dumps(document).encode()
