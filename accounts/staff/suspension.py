"""Suspending and restoring users, and ending their log-ins. The audit log records who did it and why."""

from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.utils.translation import gettext as _

from accounts import audit
from accounts.login.sessions import revoke_sessions
from accounts.models import User


class SuspensionRefused(Exception):
    """This person may not do that to that user; the message says why."""


def suspend_user(*, user: User, by: User, reason: str, note: str = "", form_id: UUID | None = None) -> User:
    """Shut a user out of pages and API, from their next request on. Raises SuspensionRefused.

    API keys stay, but do not work. Running answers are finished and charged as usual. A second call changes nothing.
    The note goes into the audit log beside the reason; `form_id` names the page on which it was asked for.
    """
    return _set_active(user, by, reason, said_of(note, form_id), is_active=False)


def restore_user(*, user: User, by: User, reason: str, note: str = "", form_id: UUID | None = None) -> User:
    """Let a suspended user in again, who must log in anew. Raises SuspensionRefused."""
    return _set_active(user, by, reason, said_of(note, form_id), is_active=True)


@transaction.atomic
def end_logins(*, user: User, by: User, reason: str, note: str = "", form_id: UUID | None = None) -> User:
    """End every log-in of a user, on the pages and through the API, once for each form. Keys stay.

    Raises SuspensionRefused.
    """
    locked = lock_user(user, by, reason)
    if form_id is None or not audit.was_recorded("log-ins ended", subject=locked, form=form_id):
        end_all_logins(locked)
        audit.record(actor=by, action="log-ins ended", subject=locked, reason=reason, **said_of(note, form_id))
    return locked


@transaction.atomic
def _set_active(user: User, by: User, reason: str, said: dict[str, Any], *, is_active: bool) -> User:
    locked = lock_user(user, by, reason)
    if locked.is_active == is_active:
        return locked
    if is_active and not locked.has_usable_password():
        raise SuspensionRefused(_("This account was closed by its owner."))
    locked.is_active = is_active
    locked.save(update_fields=["is_active"])
    end_all_logins(locked)
    action = "user restored" if is_active else "user suspended"
    audit.record(actor=by, action=action, subject=locked, reason=reason, **said)
    return locked


def lock_user(user: User, by: User, reason: str) -> User:
    """Lock the user's row and return the user.

    Raises SuspensionRefused without a reason, for oneself, and for staff unless `by` is a superuser.
    """
    if not reason.strip():
        raise SuspensionRefused(_("Say why."))
    locked = User.objects.select_for_update(no_key=True).get(pk=user.pk)
    if locked.pk == by.pk:
        raise SuspensionRefused(_("Somebody else must do this to you."))
    if (locked.is_staff or locked.is_superuser) and not by.is_superuser:
        raise SuspensionRefused(_("Only a superuser does this to staff."))
    return locked


def end_all_logins(user: User) -> None:
    """End every log-in of a locked user."""
    User.objects.filter(pk=user.pk).update(login_epoch=F("login_epoch") + 1)
    revoke_sessions(user=user)


def said_of(note: str, form_id: UUID | None) -> dict[str, Any]:
    """What the audit log keeps beside the reason: what is there of it."""
    said = {"note": note, "form": form_id}
    return {name: value for name, value in said.items() if value}
