"""Reactions to changes on allauth's pages, in the transaction of the change."""

from typing import Any

from allauth.account.models import EmailAddress
from allauth.account.signals import email_added, email_removed, password_reset
from django.dispatch import receiver

from accounts.login.guesses import open_for_user
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
