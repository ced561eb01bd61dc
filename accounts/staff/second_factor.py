"""Removing the second factor of a user who lost it."""

from uuid import UUID

from allauth.mfa.models import Authenticator
from django.db import transaction
from django.utils.translation import gettext as _

from accounts import audit
from accounts.mail.security_notices import tell_of_reset_factor
from accounts.models import User
from accounts.staff.suspension import SuspensionRefused, end_all_logins, lock_user, said_of


@transaction.atomic
def reset_second_factor(*, user: User, by: User, reason: str, note: str = "", form_id: UUID | None = None) -> User:
    """Remove the app, the passkeys and the recovery codes of a user, and end all log-ins. The user gets a mail.

    A second call with the same `form_id` changes nothing. Raises SuspensionRefused, also where there is nothing to
    reset.
    """
    locked = lock_user(user, by, reason)
    kinds = sorted(Authenticator.objects.filter(user=locked).values_list("type", flat=True))
    if not kinds:
        if form_id is not None and audit.was_recorded("second factor reset", subject=locked, form=form_id):
            return locked
        raise SuspensionRefused(_("This user has no second factor."))
    Authenticator.objects.filter(user=locked).delete()
    end_all_logins(locked)
    said = {"reason": reason, "kinds": ", ".join(kinds), **said_of(note, form_id)}
    audit.record(actor=by, action="second factor reset", subject=locked, **said)
    tell_of_reset_factor(user=locked)
    return locked
