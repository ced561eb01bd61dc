"""The page of operations: how Tally does now, for operators alone."""

from typing import Any

from django.contrib.auth.decorators import login_required, permission_required
from django.db import DatabaseError, InterfaceError
from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from accounts.callers.requests import Request
from monitoring.history import SPANS, read_history
from monitoring.overview import LIMITS, look
from monitoring.reports.lines import draw_lines
from monitoring.reports.words import shown
from monitoring.totals.adding import limited_transaction

REFRESH_SECONDS = 5


@require_safe
@never_cache
@login_required
@permission_required("inference.view_cataloguemodel", raise_exception=True)
def now(request: Request) -> HttpResponse:
    """The page; for htmx, all of it that changes."""
    overview = look()
    context = {"overview": overview, "tiles": overview.tiles(), "limits": LIMITS, "refresh_seconds": REFRESH_SECONDS}
    context["findings"] = overview.findings
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
