"""What the admins of every app are built on. Nothing is written in the admin that the audit log does not keep."""

from typing import Any, cast

from django.contrib import admin, messages
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from accounts import audit
from accounts.models import User

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


class AuditedAdmin(StrictLookups):
    """Rows that superusers write here directly. The audit log gets each field that changed, before and after.

    `audited_as` is what the audit log calls a row. Of `private_fields`, which say who somebody is, it gets the name
    alone: it outlives the account.
    """

    audited_as: str
    private_fields: tuple[str, ...] = ()

    def subject_of(self, _row: Any) -> User | None:
        """Whom a row is about."""
        return None

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Superusers."""
        return cast(User, request.user).is_superuser

    def has_change_permission(self, request: HttpRequest, _obj: Any = None) -> bool:
        """Superusers."""
        return cast(User, request.user).is_superuser

    def has_delete_permission(self, request: HttpRequest, _obj: Any = None) -> bool:
        """Superusers."""
        return cast(User, request.user).is_superuser

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Save what hangs on the row, the last step, and note the whole change."""
        super().save_related(request, form, formsets, change)
        before = {name: _plain(form.initial.get(name)) if change else "" for name in form.changed_data}
        after = {name: _plain(form.cleaned_data.get(name)) for name in form.changed_data}
        changed = audit.differences(before, after) | dict.fromkeys(set(self.private_fields) & after.keys(), "changed")
        self.note(request, "changed" if change else "added", form.instance, **changed)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """Delete one row and note it."""
        self.note(request, "deleted", obj)
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Delete the chosen rows and note each."""
        for row in queryset:
            self.note(request, "deleted", row)
        super().delete_queryset(request, queryset)

    def note(self, request: HttpRequest, what: str, row: Any, **details: str) -> None:
        """Write one line of the audit log about a row."""
        action, by = f"{self.audited_as} {what}", cast(User, request.user)
        name = row.pk if self.private_fields else f"{row} ({row.pk})"
        audit.record(actor=by, action=action, subject=self.subject_of(row), row=name, **details)


def _plain(value: Any) -> str:
    """A field's value in words: rows by their number, several by their names."""
    if isinstance(value, Model):
        return str(value.pk)
    if isinstance(value, list | tuple | set | QuerySet):
        return ", ".join(sorted(map(str, value)))
    return str(value)
