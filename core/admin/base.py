"""What the admins of every app are built on: lists that tell nothing beyond their filters, rows that services write."""

from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

# How `list_filter` and `date_hierarchy` of Django ask about a column, or about what it refers to.
WAYS_OF_FILTERS = (
    *("", "exact", "in", "isnull", "gte", "lt", "year", "month", "day"),
    *(f"{key}__{way}" for key in ("id", "pk", "key") for way in ("exact", "in")),
)


class StrictLookups(admin.ModelAdmin[Any]):
    """The address of a list may filter by what the list's own filters offer, and by nothing else.

    Django lets it ask about every column of the table: `?text__regex=^A` would read a text letter by letter, column by
    column, without a trace. `linked_lookups` are those that links of other pages use.
    """

    linked_lookups: tuple[str, ...] = ()

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:  # noqa: ARG002  Django's
        """What a filter of this list asks, in the ways that Django's own filters ask it."""
        filters = (each[0] if isinstance(each, tuple) else each for each in self.list_filter)
        names = {each for each in filters if isinstance(each, str)} | {self.date_hierarchy} - {None}
        allowed = {name if way == "" else f"{name}__{way}" for name in names for way in WAYS_OF_FILTERS}
        return lookup in allowed or lookup in self.linked_lookups


class ReadOnlyAdmin(StrictLookups):
    """Rows that services alone write."""

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
    """Rows that staff write with the services that the API uses too; the services note it in the audit log.

    What a service refuses (`refusals`) is said on the page. Nothing is deleted: history refers to it.
    """

    refusals: tuple[type[Exception], ...] = ()

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Django's view. It is one transaction, which a refusal ends."""
        try:
            return super().changeform_view(request, *args, **kwargs)
        except self.refusals as refusal:
            messages.error(request, str(refusal))
            return redirect(request.get_full_path())

    def has_delete_permission(self, _request: HttpRequest, _obj: Any = None) -> bool:
        """Nobody deletes them anywhere."""
        return False
