"""The inbox of what waits for a second person: refunds and adjustments, with what they would do, and the decision."""

from typing import Any, cast
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods, require_safe

from accounts.callers.requests import Request
from accounts.models import User
from billing import adjustments, approvals, ledger
from billing.admin.effects import adjustment_lines, refund_lines
from billing.for_staff.approvals import (
    ADJUSTMENT,
    DECIDES,
    REFUND,
    SEES,
    Approval,
    find_approval,
    read_decided,
    read_waiting,
)
from billing.models import Adjustment, Refund
from billing.refunds import requests
from billing.templatetags.money import format_credits, signed_credits
from core.admin.reasons import MOST_OF_A_NOTE
from core.admin.steps import Line
from core.spreadsheets import csv_answer

STATES = {
    "waiting": gettext_lazy("Waits"),
    "approved": gettext_lazy("Approved"),
    "rejected": gettext_lazy("Refused"),
    "lapsed": gettext_lazy("Lapsed"),
}
KINDS = {REFUND: gettext_lazy("Refunds"), ADJUSTMENT: gettext_lazy("Adjustments and grants")}
ASKED = {"me": gettext_lazy("You"), "others": gettext_lazy("Others")}
COLUMNS = (
    "customer",
    "what",
    "reason",
    "credits",
    "money",
    "asked_by",
    "asked_at",
    "state",
    "decided_by",
    "decided_at",
)


class DecisionForm(forms.Form):
    """The decision on one request. A refusal says why."""

    decision = forms.ChoiceField(choices=[("approve", ""), ("reject", "")])
    # Several lines, so that Enter does not press the first button, which approves.
    note = forms.CharField(
        required=False,
        max_length=MOST_OF_A_NOTE,
        widget=forms.Textarea(attrs={"class": "vLargeTextField", "rows": 2, "dir": "auto"}),
    )

    def clean(self) -> dict[str, Any]:
        """Demand a reason for a refusal."""
        fields = super().clean() or self.cleaned_data
        if fields.get("decision") == "reject" and not fields.get("note"):
            self.add_error("note", _("Say why you refuse."))
        return fields


@require_safe
def inbox(request: HttpRequest) -> HttpResponse:
    """The list: what waits, the oldest first, then what was decided within seven days, the newest first."""
    staff = _demand_sight(request)
    found = _chosen(request, [*read_waiting(staff), *read_decided(staff)])
    if request.GET.get("format") == "csv":
        return csv_answer("approvals", COLUMNS, map(_row, found))
    return _page(request, found)


@require_http_methods(["GET", "HEAD", "POST"])
def approval(request: HttpRequest, kind: str, row_id: UUID) -> HttpResponse:
    """The list with one request open: what it would do. POST decides on it, once."""
    staff = _demand_sight(request)
    opened = find_approval(staff, kind, row_id) if kind in SEES else None
    if opened is None:
        raise Http404
    if request.method == "POST" and not staff.has_perm(DECIDES[kind]):
        raise PermissionDenied
    form = DecisionForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        _decide(request, opened, is_approved=form.cleaned_data["decision"] == "approve", note=form.cleaned_data["note"])
        return redirect("admin:approvals")
    found = [*read_waiting(staff), *read_decided(staff)]
    if opened.row.pk not in [one.row.pk for one in found]:
        found = [opened, *found]
    return _page(request, found, opened=opened, form=form)


def state_of(one: Approval) -> str:
    """The state of a request as the inbox names it."""
    if one.has_lapsed:
        return "lapsed"
    return {"waiting": "waiting", "rejected": "rejected"}.get(one.row.state, "approved")


def _demand_sight(request: HttpRequest) -> User:
    staff = cast(Request, request).user
    if not any(staff.has_perm(permission) for permission in SEES.values()):
        raise PermissionDenied
    return staff


def _chosen(request: HttpRequest, found: list[Approval]) -> list[Approval]:
    """Those that the filters of the address let through; a filter that is unknown lets all through."""
    staff = cast(Request, request).user
    state, kind, asked = (request.GET.get(name, "") for name in ("state", "kind", "asked"))
    return [
        one
        for one in found
        if (state not in STATES or state_of(one) == state)
        and (kind not in KINDS or one.kind == kind)
        and (asked not in ASKED or (one.row.requested_by_id == staff.pk) == (asked == "me"))
    ]


def _page(
    request: HttpRequest, found: list[Approval], opened: Approval | None = None, form: DecisionForm | None = None
) -> HttpResponse:
    staff = cast(Request, request).user
    rows = [
        {"approval": one, "state": state_of(one), "is_own": one.is_own(staff), "may_decide": one.may_decide(staff)}
        for one in found
    ]
    filters = [(_("By state"), "state", STATES), (_("By what"), "kind", KINDS), (_("By who asked"), "asked", ASKED)]
    context = {
        "title": _("Approvals"),
        "rows": rows,
        "opened": opened,
        "lines": () if opened is None else _lines(opened),
        "form": form,
        "filters": [_filter(request, *each) for each in filters],
        "query": request.GET.urlencode(),
    }
    return TemplateResponse(request, "admin/approvals/inbox.html", admin.site.each_context(request) | context)


def _filter(request: HttpRequest, title: str, name: str, choices: dict[str, Any]) -> dict[str, Any]:
    """One filter: its choices with the addresses that choose them."""
    query = request.GET.copy()
    query.pop("format", None)
    chosen, links = query.get(name, ""), []
    for value, label in {"": _("All"), **choices}.items():
        query[name] = value
        links.append({"label": label, "query": query.urlencode(), "is_chosen": value == chosen})
    return {"title": title, "links": links}


def _lines(opened: Approval) -> tuple[Line, ...]:
    """What it would do, if it still waits."""
    if not opened.is_waiting:
        return ()
    if isinstance(opened.row, Refund):
        return refund_lines(opened.row.amount, hold=opened.row.hold, topup=opened.row.topup)
    return adjustment_lines(opened.row.wallet, opened.row.amount_microcredits)


def _decide(request: HttpRequest, opened: Approval, *, is_approved: bool, note: str) -> None:
    """Decide, and tell what became of it. The second of two clicks finds what the first one did."""
    staff, row = cast(Request, request).user, opened.row
    try:
        decided: Refund | Adjustment
        if isinstance(row, Refund):
            decided = requests.decide_refund(refund=row, by=staff, is_approved=is_approved, note=note)
        else:
            decided = adjustments.decide_adjustment(adjustment=row, by=staff, is_approved=is_approved, note=note)
    except (requests.RefundRefused, adjustments.AdjustmentRefused, approvals.OwnWallet) as refused:
        row.refresh_from_db()
        if row.decided_by_id != staff.pk or (row.state == "rejected") == is_approved:
            messages.error(request, str(refused))
            return
        decided = row
    except ledger.InsufficientCredits as error:
        most = format_credits(error.available_microcredits)
        text = _("At most {most} credits can be taken: the rest is held or not there.").format(most=most)
        messages.error(request, text)
        return
    problem = decided.error if isinstance(decided, Refund) else ""
    text = _("Request for {customer}: {state}.").format(customer=opened.customer, state=decided.get_state_display())
    messages.add_message(request, messages.WARNING if problem else messages.SUCCESS, f"{text} {problem}".strip())


def _row(one: Approval) -> tuple[Any, ...]:
    row = one.row
    moments = [moment.isoformat() if moment else "" for moment in (row.requested_at, row.decided_at)]
    return (
        one.customer.email,
        one.kind,
        row.reason,
        signed_credits(one.microcredits),
        one.money,
        row.requested_by.email,
        moments[0],
        state_of(one),
        row.decided_by.email if row.decided_by else "",
        moments[1],
    )
