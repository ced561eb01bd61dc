"""The audit log: written in the transaction of what it records, never changed."""

from typing import Any

from accounts.models import AuditEvent, User


def record(*, actor: User, action: str, subject: User | None = None, **details: Any) -> None:
    """Note that `actor` did `action`, to whom, and the particulars. Call it inside the same transaction."""
    AuditEvent.objects.create(
        actor=actor, action=action, subject=subject, details={name: str(value) for name, value in details.items()}
    )
