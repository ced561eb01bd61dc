"""Mails to owners about what was done with their account, written in the transaction of that action."""

from typing import Any

from django.conf import settings
from django.core.mail import send_mail
from django.db.models import TextChoices
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from accounts.profile import language_of


class KeyNews(TextChoices):
    """What was done with an API key; the label is the subject of the mail."""

    MADE = "made", _("An API key was made")
    CHANGED = "changed", _("An API key was changed")
    ROTATED = "rotated", _("An API key got another text")
    REVOKED = "revoked", _("An API key was revoked")


def tell_of_key(*, user: User, name: str, what: KeyNews) -> None:
    """Mail the owner that an API key was made, changed, rotated or revoked."""
    _send(user, what.label, "key", name=name, what=what.value)


def tell_of_log_in(*, user: User, address: str, user_agent: str) -> None:
    """Mail the user about a log-in with the right password from an unknown device."""
    _send(user, _("A log-in from a new device"), "log_in", address=address, user_agent=user_agent)


def tell_of_new_address(*, user: User, added: str) -> None:
    """Mail the account's address that another address was added."""
    _send(user, _("An e-mail address was added to your account"), "address_added", added=added)


def tell_removed_address(*, removed: str) -> None:
    """Mail an address that it was removed from its account."""
    _send_to(removed, _("This e-mail address was removed from an account"), "address_removed")


def tell_of_guesses(*, user: User, link: str) -> None:
    """Mail the user that wrong passwords shut the account, with the link that opens it again."""
    _send(user, _("Somebody tries passwords at your account"), "guesses", link=link)


def tell_of_archive(*, user: User, link: str, days: int) -> None:
    """Mail the user that the archive of their data is ready, with its link."""
    _send(user, _("Your data is ready"), "archive", link=link, days=days)


def tell_of_wrong_codes(*, user: User) -> None:
    """Mail the user that somebody with the password sent wrong codes of the second factor."""
    _send(user, _("Somebody has your password"), "wrong_codes")


def tell_of_reset_factor(*, user: User) -> None:
    """Mail the user that staff removed the second factor."""
    _send(user, _("Your second factor was removed"), "second_factor_reset")


def tell_of_closing(*, user: User) -> None:
    """Mail the user until when the account can be kept."""
    _send(user, _("Your account will be deleted"), "closing", closes_at=user.closes_at)


def tell_of_keeping(*, user: User) -> None:
    """Mail the user that the account stays."""
    _send(user, _("Your account stays"), "kept")


def _send(user: User, subject: Any, template: str, /, **facts: Any) -> None:
    with translation.override(language_of(user)):
        _send_to(user.email, subject, template, **facts)


def _send_to(to: str, subject: Any, template: str, /, **facts: Any) -> None:
    text = render_to_string(f"accounts/mail/{template}.txt", {**facts, "public_url": settings.PUBLIC_URL})
    send_mail(str(subject), text, None, [to])
