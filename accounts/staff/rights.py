"""Changes of a user's rights: the flags, the roles and the single permissions.

Only superusers change rights, and nobody changes their own. The audit log records who changed them, with the rights
before and after.
"""

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.utils.translation import gettext as _

from accounts import audit
from accounts.models import User

FLAGS = ("is_staff", "is_superuser")
LISTS = ("groups", "user_permissions")
RIGHTS = (*FLAGS, *LISTS)


class RightsRefused(PermissionDenied):
    """This person may not change the rights of that user; the message says why."""


@transaction.atomic
def change_rights(*, user: User, by: User, wanted: Mapping[str, Any]) -> User:
    """Give a user the rights in `wanted`, whose names are in RIGHTS; other rights stay. Raises RightsRefused.

    A second call with the same rights changes nothing. Returns the user.
    """
    if not by.is_superuser:
        raise RightsRefused(_("Only a superuser gives and takes rights."))
    if user.pk == by.pk:
        raise RightsRefused(_("Somebody else must change your rights."))
    locked = User.objects.select_for_update(no_key=True).get(pk=user.pk)
    before = _rights_of(locked)
    for name in FLAGS:
        setattr(locked, name, wanted.get(name, getattr(locked, name)))
    locked.save(update_fields=FLAGS)
    for name in LISTS:
        if name in wanted:
            getattr(locked, name).set(wanted[name])
    changed = audit.differences(before, _rights_of(locked))
    if changed:
        audit.record(actor=by, action="rights changed", subject=locked, **changed)
    return locked


def _rights_of(user: User) -> dict[str, Any]:
    flags: dict[str, Any] = {name: getattr(user, name) for name in FLAGS}
    return flags | {name: ", ".join(sorted(map(str, getattr(user, name).all()))) for name in LISTS}
