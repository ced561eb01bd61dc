"""Suspending and restoring users, and ending their log-ins. The audit log records who did it and why."""

from django.db import transaction
from django.db.models import F
from django.utils.translation import gettext as _

from accounts import audit
from accounts.login.sessions import revoke_sessions
from accounts.models import User


class SuspensionRefused(Exception):
    """This person may not do that to that user; the message says why."""


def suspend_user(*, user: User, by: User, reason: str) -> User:
    """Shut a user out of pages and API, from their next request on. Raises SuspensionRefused.

    API keys stay, but do not work. Running answers are finished and charged as usual. A second call changes nothing.
    """
    return _set_active(user, by, reason, is_active=False)


def restore_user(*, user: User, by: User, reason: str) -> User:
    """Let a suspended user in again, who must log in anew. Raises SuspensionRefused."""
    return _set_active(user, by, reason, is_active=True)


@transaction.atomic
def end_logins(*, user: User, by: User, reason: str) -> User:
    """End every log-in of a user, on the pages and through the API. Keys stay. Raises SuspensionRefused."""
    locked = _lock(user, by, reason)
    _end_logins(locked)
    audit.record(actor=by, action="log-ins ended", subject=locked, reason=reason)
    return locked


@transaction.atomic
def _set_active(user: User, by: User, reason: str, *, is_active: bool) -> User:
    locked = _lock(user, by, reason)
    if locked.is_active == is_active:
        return locked
    if is_active and not locked.has_usable_password():
        raise SuspensionRefused(_("This account was closed by its owner."))
    locked.is_active = is_active
    locked.save(update_fields=["is_active"])
    _end_logins(locked)
    action = "user restored" if is_active else "user suspended"
    audit.record(actor=by, action=action, subject=locked, reason=reason)
    return locked


def _lock(user: User, by: User, reason: str) -> User:
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


def _end_logins(user: User) -> None:
    User.objects.filter(pk=user.pk).update(login_epoch=F("login_epoch") + 1)
    revoke_sessions(user=user)
