"""The page of operations: how Tally does now, for operators alone."""

from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts.callers.requests import Request
from monitoring.alerts.judging import judge
from monitoring.alerts.reading import count_open, match_open
from monitoring.overview import look
from monitoring.pages.operators import operators_only

REFRESH_SECONDS = 5


@require_safe
@operators_only
def now(request: Request) -> HttpResponse:
    """The page; for htmx, all of it that changes."""
    overview = look()
    context = {
        "overview": overview,
        "tiles": overview.tiles(),
        "failed_percent_limit": settings.ALERT_FAILED_PERCENT,
        "refresh_seconds": REFRESH_SECONDS,
        "findings": match_open(judge(overview)),
        "open_count": count_open(),
    }
    template = "monitoring/_operations_live.html" if request.htmx else "monitoring/operations.html"
    return render(request, template, context)
