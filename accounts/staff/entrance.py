"""Who may enter the pages of staff - the admin, /ops/ and Flower - as far as the second factor is concerned.

A password alone opens none of them. A session is confirmed once a code, a recovery code or a passkey was given in it:
at the log-in, later when it was asked for, or when the user's first factor was set up in it (docs/adr/0053).
"""

from typing import Any, cast

from allauth.account.authentication import get_authentication_records
from allauth.mfa.models import Authenticator
from django.http import HttpRequest
from django.urls import reverse
from django.utils.http import urlencode

from accounts.login.second_factor import has_second_factor
from accounts.models import User
from accounts.staff.demo_accounts import may_do_without

BACK = "staff_entrance_back"  # in the session: the page from which somebody was led to the second factor


def works_here(user: Any) -> bool:
    """Whether this user is staff, or has any right that customers have not."""
    return bool(user.is_authenticated and (user.is_staff or user.is_superuser or user.get_all_permissions()))


def is_confirmed(request: HttpRequest) -> bool:
    """Whether a second factor was given in this session by its user. This needs no query."""
    records = get_authentication_records(request, cast(User, request.user))
    return any(record.get("method") == "mfa" for record in records)


def missing_step(request: HttpRequest, *, back: str) -> str | None:
    """The URL of what this member of staff must do before entering, or None where nothing is missing. One query.

    It leads to the set-up of a factor, or to the question for a code. From there one comes back to the path `back`.
    """
    user = cast(User, request.user)
    if may_do_without(user):
        return None
    if not has_second_factor(user):
        return reverse("mfa_index")
    return None if is_confirmed(request) else question_for(user, back=back)


def question_for(user: User, *, back: str) -> str:
    """The URL of the page that asks for a code, or for the passkey of a user who has no codes."""
    has_codes = Authenticator.objects.filter(user=user).exclude(type=Authenticator.Type.WEBAUTHN).exists()
    page = "mfa_reauthenticate" if has_codes else "mfa_reauthenticate_webauthn"
    return f"{reverse(page)}?{urlencode({'next': back})}"
