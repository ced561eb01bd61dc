"""The pages of the reports, and the same as files. Who may see which is in `monitoring.reports.catalogue`."""

from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from accounts.callers.requests import Request
from accounts.models import User
from core.days import in_report_zone
from monitoring.reports.catalogue import KINDS, Kind, kinds_for
from monitoring.reports.charts import draw, unit_of
from monitoring.reports.files import as_csv, as_json
from monitoring.reports.periods import (
    PeriodRefused,
    ReportPeriod,
    last_month,
    read_period,
    this_month,
    yesterday,
)
from monitoring.reports.tables import Report, Table
from monitoring.reports.words import shown

FILES = {"csv": ("text/csv; charset=utf-8", as_csv), "json": ("application/json", as_json)}


@require_safe
@never_cache
@login_required
def reports(request: Request) -> HttpResponse:
    """The reports that this person may see. With a name, to that report: the form of each page sends it."""
    kinds = kinds_for(request.user)
    if not kinds:
        raise PermissionDenied
    name = request.GET.get("report", "")
    if name in KINDS:
        days = {key: request.GET.get(key, "") for key in ("from", "to")}
        return redirect(f"{reverse('monitoring:report', args=[name])}?{urlencode(days)}")
    return render(request, "monitoring/reports/index.html", {"kinds": kinds, "periods": _periods()})


@require_safe
@never_cache
@login_required
def report(request: Request, name: str) -> HttpResponse:
    """A report as a page. A period that is none is said beside its field."""
    kind = _kind_or_refuse(request.user, name)
    page = {
        "kind": kind,
        "kinds": kinds_for(request.user),
        "periods": _periods(),
        "zone": settings.REPORTING_TIME_ZONE,
        "days": {key: request.GET.get(key, "") for key in ("from", "to")},
    }
    try:
        period = _period(request)
    except PeriodRefused as refused:
        page |= {"refused": refused, "wrong": refused.field}
        return render(request, "monitoring/reports/report.html", page, status=400)
    made = kind.make(period)
    return render(request, "monitoring/reports/report.html", page | _context(made))


@require_safe
@never_cache
@login_required
def report_file(request: Request, name: str, form: str) -> HttpResponse:
    """A report as a file. A period that is none is a 400 that says what to do."""
    kind = _kind_or_refuse(request.user, name)
    if form not in FILES:
        raise Http404
    try:
        period = _period(request)
    except PeriodRefused as refused:
        return HttpResponse(f"{refused.field}: {refused}\n", status=400, content_type="text/plain; charset=utf-8")
    content_type, write = FILES[form]
    response = HttpResponse(write(kind.make(period)), content_type=content_type)
    file_name = f"tally-{name}-{period.first.isoformat()}-{period.last.isoformat()}.{form}"
    response["Content-Disposition"] = f'attachment; filename="{file_name}"'
    return response


def _kind_or_refuse(user: User, name: str) -> Kind:
    """Return the report of this name. Raises PermissionDenied, to those who see no report whatever the name."""
    if name in KINDS and KINDS[name].is_for(user):
        return KINDS[name]
    if name in KINDS or not kinds_for(user):
        raise PermissionDenied
    raise Http404


def _period(request: Request) -> ReportPeriod:
    return read_period(request.GET.get("from", ""), request.GET.get("to", ""))


def _periods() -> list[tuple[str, ReportPeriod]]:
    return [
        (_("This month"), this_month()),
        (_("Last month"), last_month()),
        (_("Yesterday"), yesterday()),
    ]


def _context(made: Report) -> dict[str, Any]:
    tables = [_with_chart(table) for table in made.tables]
    period = made.period
    return {
        "report": made,
        "period": period,
        "begin": _clock(period.begin),
        "end": _clock(period.end),
        "made_at": _clock(made.made_at),
        "days": {"from": period.first.isoformat(), "to": period.last.isoformat()},
        "other_ways": [
            f"GET {reverse(f'api:report_{made.name}')}",
            f"manage.py report {made.name} --from {period.first.isoformat()} --to {period.last.isoformat()}",
        ],
        "main_tables": [table for table in tables if not table["table"].is_aside],
        "aside_tables": [table for table in tables if table["table"].is_aside],
    }


def _clock(moment: datetime) -> datetime:
    """What the clocks of the reports' time zone show; naive, so that no template moves it to the reader's own zone."""
    return in_report_zone(moment).replace(tzinfo=None)


def _with_chart(table: Table) -> dict[str, Any]:
    chart = draw(table) if table.charted else None
    return shown(table) | {"chart": chart, "unit": unit_of(table) if chart else ""}
