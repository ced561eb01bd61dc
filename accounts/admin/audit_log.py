"""The audit log in the admin: found by who, whom, object, kind and period, and taken along as a file."""

import csv
import io
from collections.abc import Iterator
from typing import cast

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts import audit
from accounts.callers.requests import Request
from accounts.models import AuditEvent, User
from core.admin.base import ReadOnlyAdmin
from core.admin.large_lists import LargeList, filter_of_values, find_people
from core.spreadsheets import harmless

MOST_EXPORTED = 50_000  # events in a file; a period or a kind narrows it
BATCH_EVENTS = 1_000
COLUMNS = (
    "id",
    "created_at",
    "actor_id",
    "actor_email",
    "action",
    "subject_id",
    "subject_email",
    "object_name",
    "before",
    "after",
    "reason",
    "details",
    "address",
    "request_id",
)


@admin.register(AuditEvent)
class AuditEventAdmin(LargeList, ReadOnlyAdmin):
    """Who did what to whom, the latest first. The list as a file has more columns, and is an event too."""

    list_display = ("created_at", "actor", "action", "subject", "object_name", "reason", "changes", "address")
    list_filter = (filter_of_values("action", gettext_lazy("what")), "created_at")
    linked_lookups = ("actor__id__exact", "subject__id__exact")
    search_help_text = gettext_lazy(
        "The e-mail address or number of who did it or whose account it was, an object (refund 7), or a request's id."
    )
    ordering = ("-created_at", "-id")
    list_select_related = ("actor", "subject")

    def named_by(self, text: str) -> Q:
        """By who did it, whose account it was, the object, the request or the kind."""
        if people := find_people(text):
            return Q(actor__in=people) | Q(subject__in=people)
        return (Q(object_name=text) & ~Q(object_name="")) | (Q(request_id=text) & ~Q(request_id="")) | Q(action=text)

    def csv_view(self, request: HttpRequest) -> HttpResponse:
        """The events of the list as a file. Refuses more than MOST_EXPORTED. Raises PermissionDenied."""
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        if not self.has_view_permission(request):
            raise PermissionDenied
        listed: ChangeList = self.get_changelist_instance(request)
        rows = listed.get_queryset(request)
        if rows[: MOST_EXPORTED + 1].count() > MOST_EXPORTED:
            words = _("These are more than {most} events. Choose a period or a kind.").format(most=MOST_EXPORTED)
            messages.error(request, words)
            return redirect(f"{reverse('admin:accounts_auditevent_changelist')}?{request.GET.urlencode()}")
        return _file_of(rows, by=cast(Request, request).user, asked=request.GET.urlencode())

    @admin.display(description=gettext_lazy("before → after, and more"))
    def changes(self, event: AuditEvent) -> str:
        """What changed, and the other details, without the reason and the object, which have columns of their own."""
        shown = {name: value for name, value in event.details.items() if name != "reason"}
        return ", ".join(f"{name}: {value}" for name, value in shown.items())


@transaction.atomic
def _file_of(rows: QuerySet[AuditEvent], *, by: User, asked: str) -> HttpResponse:
    """The file; that it was taken, by whom and with which filter, is recorded in the log itself."""
    text = io.StringIO()
    lines = csv.writer(text)
    lines.writerow(COLUMNS)
    count = 0
    for event in _in_batches(rows):
        lines.writerow([harmless(cell) for cell in _cells(event)])
        count += 1
    audit.record(actor=by, action="audit log exported", events=count, filter=asked)
    response = HttpResponse(text.getvalue(), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="tally-audit-{timezone.now():%Y-%m-%d}.csv"'
    response["Cache-Control"] = "no-store"
    return response


def _in_batches(rows: QuerySet[AuditEvent]) -> Iterator[AuditEvent]:
    """All rows, the latest first, some at a time."""
    after: Q = Q()
    while batch := list(rows.filter(after)[:BATCH_EVENTS]):
        yield from batch
        last = batch[-1]
        after = Q(created_at__lt=last.created_at) | Q(created_at=last.created_at, pk__lt=last.pk)


def _cells(event: AuditEvent) -> list[str]:
    subject = event.subject
    return [
        str(event.pk),
        event.created_at.isoformat(),
        str(event.actor_id),
        event.actor.email,
        event.action,
        str(event.subject_id or ""),
        subject.email if subject else "",
        event.object_name,
        _listed(event.before),
        _listed(event.after),
        event.reason,
        _listed(event.details),
        event.address or "",
        event.request_id,
    ]


def _listed(values: dict[str, str]) -> str:
    return "; ".join(f"{name}: {value}" for name, value in values.items())
