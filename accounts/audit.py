"""The audit log: written in the transaction of what it records, never changed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from accounts.models import AuditEvent, User
from core.serving.current_request import current_address, current_request_id

# The details that name the object of an action, the most telling first.
OBJECTS = ("refund", "adjustment", "key", "price", "package", "code", "conversation", "generation", "row", "model")
LONGEST_OBJECT = 120


@dataclass(frozen=True, slots=True)
class Change:
    """What a field was before and what it is after."""

    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.before} → {self.after}"


def record(*, actor: User, action: str, subject: User | None = None, **details: Any) -> None:
    """Record that `actor` did `action` to `subject`, with details. Call it in the transaction of the action.

    A detail that is a Change is also kept as the values before and after. The address is noted of what somebody does to
    others, not of what customers do to their own account: the log outlives that.
    """
    changes = {name: value for name, value in details.items() if isinstance(value, Change)}
    AuditEvent.objects.create(
        actor=actor,
        action=action,
        subject=subject,
        details={name: str(value) for name, value in details.items()},
        before={name: str(change.before) for name, change in changes.items()},
        after={name: str(change.after) for name, change in changes.items()},
        reason=str(details.get("reason", "")),
        object_name=_object_of(details),
        address=current_address() if actor.is_staff or subject != actor else None,
        request_id=current_request_id(),
    )


def was_recorded(action: str, *, subject: User, form: UUID) -> bool:
    """Whether the form with this id already did this to the subject: then it was sent twice."""
    return AuditEvent.objects.filter(subject=subject, action=action, details__form=str(form)).exists()


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """What changed, by name, as `record` takes it."""
    return {name: Change(before.get(name), value) for name, value in after.items() if before.get(name) != value}


def _object_of(details: Mapping[str, Any]) -> str:
    name = next((name for name in OBJECTS if details.get(name) not in (None, "")), None)
    return f"{name} {details[name]}"[:LONGEST_OBJECT] if name else ""
