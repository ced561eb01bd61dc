"""The audit log: written in the transaction of what it records, never changed."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from accounts.models import AuditEvent, User


def record(*, actor: User, action: str, subject: User | None = None, **details: Any) -> None:
    """Record that `actor` did `action` to `subject`, with details. Call it in the transaction of the action."""
    AuditEvent.objects.create(
        actor=actor, action=action, subject=subject, details={name: str(value) for name, value in details.items()}
    )


def was_recorded(action: str, *, subject: User, form: UUID) -> bool:
    """Whether the form with this id already did this to the subject: then it was sent twice."""
    return AuditEvent.objects.filter(subject=subject, action=action, details__form=str(form)).exists()


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """What changed, by name, as `record` takes it: "before → after"."""
    return {name: f"{before.get(name)} → {value}" for name, value in after.items() if before.get(name) != value}
