"""The audit log in the admin: found by who, whom, object, kind and period, and taken along as a file."""

import csv
import io
from collections.abc import Iterator
from typing import Any, cast

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts import audit
from accounts.callers.requests import Request
from accounts.models import AuditEvent, User
from core.admin.base import ReadOnlyAdmin
from core.admin.large_lists import CountingToALimit
from core.spreadsheets import safe_cell

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


class KindFilter(admin.SimpleListFilter):
    """By what was done. Django's own filter would read the whole table for the list of kinds."""

    title = gettext_lazy("what")
    parameter_name = "action"

    def lookups(self, _request: HttpRequest, _model_admin: Any) -> list[tuple[str, str]]:
        """Every kind that there is."""
        return [(kind, kind) for kind in audit.known_kinds()]

    def queryset(self, _request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any]:
        """The events of the chosen kind."""
        return rows.filter(action=self.value()) if self.value() else rows


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnlyAdmin):
    """Who did what to whom, the latest first. `export.csv` is the filtered list as a file; that is an event too."""

    list_display = ("created_at", "actor", "action", "subject", "object_name", "reason", "changes", "address")
    list_filter = (KindFilter, "created_at")
    linked_lookups = ("actor__id__exact", "subject__id__exact")
    search_fields = ("object_name",)  # only so that there is a box: see `get_search_results`
    search_help_text = gettext_lazy(
        "The e-mail address or number of who did it or whose account it was, an object (refund 7), or a request's id."
    )
    ordering = ("-created_at", "-id")
    sortable_by = ()
    list_select_related = ("actor", "subject")
    list_per_page = 50
    list_max_show_all = 50
    show_full_result_count = False
    paginator = CountingToALimit
    date_hierarchy = None

    def get_search_results(
        self, _request: HttpRequest, rows: QuerySet[AuditEvent], search_term: str
    ) -> tuple[QuerySet[AuditEvent], bool]:
        """The events that the text names exactly; each way has an index."""
        text = search_term.strip()
        return (rows.filter(_named_by(text)) if text else rows), False

    def get_urls(self) -> list[URLPattern]:
        """Add the file, before the admin's own pages."""
        export = self.admin_site.admin_view(self.export_view)
        return [path("export.csv", export, name="accounts_auditevent_export"), *super().get_urls()]

    def export_view(self, request: HttpRequest) -> HttpResponse:
        """The events of the list as a file. Refuses more than MOST_EXPORTED. Raises PermissionDenied."""
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


def _named_by(text: str) -> Q:
    if "@" in text:
        people = list(User.objects.filter(email=text.lower()).values_list("pk", flat=True))
        return Q(actor__in=people) | Q(subject__in=people)
    if text.isdecimal() and len(text) < 19:
        return Q(actor=int(text)) | Q(subject=int(text))
    return (Q(object_name=text) & ~Q(object_name="")) | (Q(request_id=text) & ~Q(request_id="")) | Q(action=text)


@transaction.atomic
def _file_of(rows: QuerySet[AuditEvent], *, by: User, asked: str) -> HttpResponse:
    """The file; that it was taken, by whom and with which filter, is recorded in the log itself."""
    text = io.StringIO()
    lines = csv.writer(text)
    lines.writerow(COLUMNS)
    count = 0
    for event in _in_batches(rows):
        lines.writerow([safe_cell(cell) for cell in _cells(event)])
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
