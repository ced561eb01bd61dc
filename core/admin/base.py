"""Base classes of every app's admin: lists that accept only their own filters, and rows that only services write."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import URLPattern, path

from core.admin.lists import QuickChangeList, rows_of, search
from core.spreadsheets import csv_answer

# The lookups that Django's `list_filter` and `date_hierarchy` put into a URL, for a column or a foreign key.
WAYS_OF_FILTERS = (
    *("", "exact", "in", "isnull", "gte", "lt", "year", "month", "day"),
    *(f"{key}__{way}" for key in ("id", "pk", "key") for way in ("exact", "in")),
)


class StrictLookups(admin.ModelAdmin[Any]):
    """The URL of a list may contain only the lookups of the list's own filters.

    Django allows lookups on every column of the table: with `?text__regex=^A` somebody could find out a text letter by
    letter, and nothing would record it. `linked_lookups` are further lookups, which links on other pages use.
    """

    linked_lookups: tuple[str, ...] = ()
    list_per_page = 50
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # they count

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:  # noqa: ARG002  Django's
        """The list that counts nothing."""
        return QuickChangeList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """The search that uses indexes alone (`core.admin.lists`)."""
        if not search_term.strip():
            return queryset, False
        return search(queryset, tuple(map(str, self.get_search_fields(request))), search_term), False

    def get_urls(self) -> list[URLPattern]:
        """The list as a file, before the admin's own pages."""
        name = f"{self.opts.app_label}_{self.opts.model_name}_csv"
        return [path("csv/", self.admin_site.admin_view(self.csv_view), name=name), *super().get_urls()]

    def csv_view(self, request: HttpRequest) -> HttpResponse:
        """The list as it is filtered, as a file. Raises PermissionDenied."""
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            head, *rows = rows_of(self.get_changelist_instance(request))
        except IncorrectLookupParameters:
            return HttpResponseBadRequest()
        return csv_answer(str(self.opts.model_name), head, rows)

    def response_action(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:  # type: ignore[override]  # Django's
        """Do the action with the rows that were ticked, never with all that the list has."""
        if request.POST.get("select_across", "0") not in ("", "0"):
            return HttpResponseBadRequest()
        return super().response_action(request, queryset)

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:  # noqa: ARG002  Django's
        """Whether the lookup belongs to a filter of this list or to `linked_lookups`."""
        filters = (each[0] if isinstance(each, tuple) else each for each in self.list_filter)
        names = {each for each in filters if isinstance(each, str)} | {self.date_hierarchy} - {None}
        allowed = {name if way == "" else f"{name}__{way}" for name in names for way in WAYS_OF_FILTERS}
        own = {getattr(each, "parameter_name", None) for each in self.list_filter} - {None}
        return lookup in allowed or lookup in own or lookup in self.linked_lookups


class ReadOnlyAdmin(StrictLookups):
    """Rows that only services write; the admin shows them."""

    def has_add_permission(self, _request: HttpRequest) -> bool:
        """Nobody adds them here."""
        return False

    def has_change_permission(self, _request: HttpRequest, _obj: Any = None) -> bool:
        """Nobody changes them here."""
        return False

    def has_delete_permission(self, _request: HttpRequest, _obj: Any = None) -> bool:
        """Nobody deletes them anywhere."""
        return False


class ServiceAdmin(StrictLookups):
    """Rows that staff change through the services of the API; the services write the audit log.

    The page shows the message of an exception in `refusals`, with which a service refuses a change. No row can be
    deleted, because history refers to it.
    """

    refusals: tuple[type[Exception], ...] = ()

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Django's view, in one transaction. A refusal rolls it back and is shown on the page."""
        try:
            return super().changeform_view(request, *args, **kwargs)
        except self.refusals as refusal:
            messages.error(request, str(refusal))
            return redirect(request.get_full_path())

    def has_delete_permission(self, _request: HttpRequest, _obj: Any = None) -> bool:
        """Nobody deletes them anywhere."""
        return False
