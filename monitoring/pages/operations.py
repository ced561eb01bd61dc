"""The page of operations: how Tally does now, for operators alone."""

from django.contrib.auth.decorators import login_required, permission_required
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from accounts.callers.requests import Request
from monitoring.overview import LIMITS, look

REFRESH_SECONDS = 5


@require_safe
@never_cache
@login_required
@permission_required("inference.view_cataloguemodel", raise_exception=True)
def now(request: Request) -> HttpResponse:
    """The page; for htmx, the parts of it that change, each of which replaces the one that is shown."""
    overview = look()
    context = {"overview": overview, "tiles": overview.tiles(), "limits": LIMITS, "refresh_seconds": REFRESH_SECONDS}
    is_refresh = bool(request.htmx)
    template = "monitoring/_operations_live.html" if is_refresh else "monitoring/operations.html"
    return render(request, template, context | {"oob": is_refresh})
