"""Reactions to changes on allauth's pages, in the transaction of the change."""

from typing import Any

from allauth.account.internal.flows.login import record_authentication
from allauth.account.models import EmailAddress
from allauth.account.signals import email_added, email_changed, email_removed, password_changed, password_reset
from allauth.mfa.models import Authenticator
from allauth.mfa.signals import authenticator_added, authenticator_removed, authenticator_reset
from django.dispatch import receiver
from django.http import HttpRequest

from accounts import audit
from accounts.login.guesses import open_for_user
from accounts.login.second_factor import FACTORS
from accounts.mail import security_notices
from accounts.models import User


@receiver(email_added, dispatch_uid="accounts.tell_of_new_address")
def tell_of_new_address(user: User, email_address: EmailAddress, **_kwargs: Any) -> None:
    """Mail the account's current address about the new one."""
    security_notices.tell_of_new_address(user=user, added=email_address.email)


@receiver(email_removed, dispatch_uid="accounts.tell_removed_address")
def tell_removed_address(email_address: EmailAddress, **_kwargs: Any) -> None:
    """Mail a confirmed address that it was removed; allauth mails the primary address."""
    if email_address.verified:
        security_notices.tell_removed_address(removed=email_address.email)


@receiver(password_reset, dispatch_uid="accounts.open_after_reset")
def open_after_reset(user: User, **_kwargs: Any) -> None:
    """Open the account: a user who sets a new password by mail is its owner, even after many wrong guesses."""
    open_for_user(user)


@receiver(password_changed, dispatch_uid="accounts.record_password")
def record_password(user: User, **_kwargs: Any) -> None:
    """Record a new password in the audit log."""
    audit.record(actor=user, action="password changed", subject=user)


@receiver(email_changed, dispatch_uid="accounts.record_address")
def record_address(user: User, **_kwargs: Any) -> None:
    """Record another address in the audit log, which names none: it outlives the account."""
    audit.record(actor=user, action="e-mail address changed", subject=user)


@receiver(authenticator_added, dispatch_uid="accounts.record_factor_added")
def record_factor_added(user: User, authenticator: Authenticator, **_kwargs: Any) -> None:
    """Record in the audit log that an app, a passkey or recovery codes were added."""
    audit.record(actor=user, action="second factor added", subject=user, kind=authenticator.type)


@receiver(authenticator_added, dispatch_uid="accounts.confirm_session")
def confirm_session(request: HttpRequest, user: User, authenticator: Authenticator, **_kwargs: Any) -> None:
    """Confirm the session in which somebody sets up their first factor: they have just used it.

    A further factor confirms nothing: whoever has the password alone could add one of their own.
    """
    factors = Authenticator.objects.filter(user=user, type__in=FACTORS)
    if [one.pk for one in factors] == [authenticator.pk]:
        record_authentication(request, user, "mfa", id=authenticator.pk, type=authenticator.type)


@receiver(authenticator_removed, dispatch_uid="accounts.record_factor_removed")
def record_factor_removed(user: User, authenticator: Authenticator, **_kwargs: Any) -> None:
    """Record in the audit log that one was removed."""
    audit.record(actor=user, action="second factor removed", subject=user, kind=authenticator.type)


@receiver(authenticator_reset, dispatch_uid="accounts.record_new_codes")
def record_new_codes(user: User, **_kwargs: Any) -> None:
    """Record in the audit log that recovery codes were replaced."""
    audit.record(actor=user, action="recovery codes replaced", subject=user)
