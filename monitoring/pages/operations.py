"""The page of operations: how Tally does now, for operators alone."""

from typing import Any

from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from accounts.callers.requests import Request
from monitoring.alerts.judging import judge
from monitoring.alerts.reading import count_open, match_open
from monitoring.history import SPANS, read_history
from monitoring.overview import look
from monitoring.pages.operators import operators_only
from monitoring.reports.lines import draw_lines
from monitoring.reports.words import shown
from monitoring.totals.adding import limited_transaction

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
    if request.htmx:
        return render(request, "monitoring/_operations_live.html", context)
    return render(request, "monitoring/operations.html", context | _over_time(request.GET.get("over", "")))


def _over_time(asked: str) -> dict[str, Any]:
    """The charts of the last hour, or of what the address asks for. They stay as they are until the page is loaded."""
    over = asked if asked in SPANS else "hour"
    context: dict[str, Any] = {"spans": SPANS, "over": over, "history": None}
    try:
        with limited_transaction():
            tables = read_history(SPANS[over], timezone.now())
    except (DatabaseError, InterfaceError):
        return context
    return context | {"history": [shown(table) | {"drawn": draw_lines(table)} for table in tables]}
