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
    """The page; for htmx, all of it that changes."""
    overview = look()
    context = {"overview": overview, "tiles": overview.tiles(), "limits": LIMITS, "refresh_seconds": REFRESH_SECONDS}
    template = "monitoring/_operations_live.html" if request.htmx else "monitoring/operations.html"
    return render(request, template, context | {"findings": overview.findings})
