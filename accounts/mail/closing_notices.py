"""Mails to users about the end of their account: that it closes, and that it stays."""

from typing import Any

from django.conf import settings
from django.core.mail import send_mail
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from accounts.profile import language_of


def tell_of_closing(*, user: User) -> None:
    """Mail the user until when the account can be kept."""
    _send(user, _("Your account will be deleted"), "closing")


def tell_of_keeping(*, user: User) -> None:
    """Mail the user that the account stays."""
    _send(user, _("Your account stays"), "kept")


def _send(user: User, subject: Any, template: str) -> None:
    facts = {"closes_at": user.closes_at, "public_url": settings.PUBLIC_URL}
    with translation.override(language_of(user)):
        send_mail(str(subject), render_to_string(f"accounts/mail/{template}.txt", facts), None, [user.email])
