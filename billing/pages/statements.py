"""Statements: the list of months, one month to print, one month as a file. Both are streamed, however long."""

from datetime import date
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import Http404, StreamingHttpResponse
from django.http.response import HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from accounts.callers.requests import Request
from billing.reporting import exports
from billing.reporting.statements import NoStatement, Statement, make_statement, months_of
from core.days import this_month

MARK = "<!--lines-->"  # where the lines go in the template; autoescape keeps it out of other text


@require_safe
@login_required
def statements(request: Request) -> HttpResponse:
    """List the months."""
    context = {"heading": _("Statements"), "tab": "statements", "months": months_of(request.user)}
    return render(request, "billing/reporting/statements.html", context | {"running": this_month()})


@require_safe
@login_required
def statement(request: Request, month: date) -> StreamingHttpResponse:
    """A month as a page, to read and to print."""
    made = _statement_or_404(request, month)
    context = {"heading": _("Statement"), "tab": "statements", "statement": made, "mark": MARK}
    head, tail = render_to_string("billing/reporting/statement.html", context, request).split(MARK)
    as_page = exports.Format("text/html; charset=utf-8", head, "", tail, _render_lines)
    return exports.streamed(made.lines, as_page, is_oldest_first=True)


@require_safe
@login_required
def statement_csv(request: Request, month: date) -> StreamingHttpResponse:
    """A month as a file: the lines between a row with the opening and one with the closing balance."""
    made = _statement_or_404(request, month)
    as_file = exports.framed_csv(made.opening_microcredits, made.closing_microcredits)
    response = exports.streamed(made.lines, as_file, is_oldest_first=True)
    response["Content-Disposition"] = f'attachment; filename="tally-statement-{month:%Y-%m}.csv"'
    return response


def _statement_or_404(request: Request, month: date) -> Statement:
    try:
        return make_statement(user=request.user, month=month)
    except NoStatement as error:
        raise Http404(str(error)) from error


def _render_lines(rows: Any) -> str:
    lines = [dict(zip(exports.COLUMNS, row, strict=True)) for row in rows]
    return render_to_string("billing/reporting/_statement_lines.html", {"lines": lines})
