"""The audit log: written in the transaction of what it records, never changed."""

from collections.abc import Mapping
from typing import Any

from accounts.models import AuditEvent, User


def record(*, actor: User, action: str, subject: User | None = None, **details: Any) -> None:
    """Record that `actor` did `action` to `subject`, with details. Call it in the transaction of the action."""
    AuditEvent.objects.create(
        actor=actor, action=action, subject=subject, details={name: str(value) for name, value in details.items()}
    )


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """What changed, by name, as `record` takes it: "before → after"."""
    return {name: f"{before.get(name)} → {value}" for name, value in after.items() if before.get(name) != value}
