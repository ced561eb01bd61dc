"""The base of admins in which superusers edit rows directly; the audit log records each change."""

from typing import Any, cast

from django.db.models import Model, QuerySet
from django.http import HttpRequest

from accounts import audit
from accounts.models import User
from core.admin.base import StrictLookups


class AuditedAdmin(StrictLookups):
    """Rows that superusers edit directly. The audit log records each changed field, with its old and new value.

    `audited_as` is the name of such a row in the audit log. `private_fields` contain personal data: the log records
    only that they changed, because it is kept after the account is closed.
    """

    audited_as: str
    private_fields: tuple[str, ...] = ()

    def subject_of(self, _row: Any) -> User | None:
        """The user whom a row concerns, None if there is no such user."""
        return None

    def has_add_permission(self, request: HttpRequest) -> bool:
        return cast(User, request.user).is_superuser

    def has_change_permission(self, request: HttpRequest, _obj: Any = None) -> bool:
        return cast(User, request.user).is_superuser

    def has_delete_permission(self, request: HttpRequest, _obj: Any = None) -> bool:
        return cast(User, request.user).is_superuser

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Save the related rows, which is the last step of a save, and record the whole change."""
        super().save_related(request, form, formsets, change)
        before = {name: _plain(form.initial.get(name)) if change else "" for name in form.changed_data}
        after = {name: _plain(form.cleaned_data.get(name)) for name in form.changed_data}
        changed = audit.differences(before, after) | dict.fromkeys(set(self.private_fields) & after.keys(), "changed")
        self.note(request, "changed" if change else "added", form.instance, **changed)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """Delete one row and record it."""
        self.note(request, "deleted", obj)
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Delete the chosen rows and record each."""
        for row in queryset:
            self.note(request, "deleted", row)
        super().delete_queryset(request, queryset)

    def note(self, request: HttpRequest, what: str, row: Any, **details: str) -> None:
        """Write one line of the audit log about a row."""
        action, by = f"{self.audited_as} {what}", cast(User, request.user)
        name = row.pk if self.private_fields else f"{row} ({row.pk})"
        audit.record(actor=by, action=action, subject=self.subject_of(row), row=name, **details)


def _plain(value: Any) -> str:
    """A field's value as text: a row as its primary key, several rows as their names."""
    if isinstance(value, Model):
        return str(value.pk)
    if isinstance(value, list | tuple | set | QuerySet):
        return ", ".join(sorted(map(str, value)))
    return str(value)
