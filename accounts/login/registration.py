"""Signing up, confirming an address and setting a password through the API, by allauth's rules and with its mails.

A mail is written into the outbox, in the transaction of the change that it reports: nothing here waits for a mail
server. No answer reveals whether an address has an account: it is the same in both cases, only the mails differ.
"""

from datetime import timedelta

from allauth.account import signals
from allauth.account.adapter import get_adapter
from allauth.account.forms import (
    ChangePasswordForm,
    ResetPasswordForm,
    ResetPasswordKeyForm,
    UserTokenForm,
)
from allauth.account.internal.flows.email_verification import send_verification_email_to_address
from allauth.account.models import EmailAddress, EmailConfirmationHMAC
from django.conf import settings
from django.contrib.auth import authenticate
from django.db import IntegrityError, transaction
from django.forms import Form
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.login.forms import SignupForm
from accounts.login.guesses import count_wrong_password, demand_open_for, open_for_user
from accounts.login.sessions import keep_session, revoke_sessions
from accounts.models import ApiSession, User

FIELD_NAMES = {"password1": "password", "password2": "password", "oldpassword": "current_password", "__all__": "body"}


class FieldsRefused(Exception):
    """Fields of the request break a rule; `errors` says why, by field."""

    def __init__(self, errors: dict[str, list[str]]) -> None:
        super().__init__(next(iter(errors.values()))[0])
        self.errors = errors


class WrongPassword(Exception):
    """The address and the password do not belong together, or the user is suspended."""


class PasswordWanted(Exception):
    """The log-in is too old for this action, so the password must be sent again."""


class AccountCloses(Exception):
    """The user asked to delete the account. It can be kept on the pages, and until then programs are refused."""


class NotVerified(Exception):
    """The password is right, but the address was never confirmed."""


def register_user(*, request: HttpRequest, email: str, password: str) -> None:
    """Make an account and mail the link that confirms its address. Raises FieldsRefused.

    If the address already has an account, its owner is mailed that instead.
    """
    form = SignupForm({"email": email, "password1": password, "password2": password})
    _demand_valid(form)
    try:
        with transaction.atomic():
            user, _response = form.try_save(request)
            request.session.pop("account_verified_email", None)  # allauth sets it; it would make a session and a cookie
            if user is not None:
                signals.user_signed_up.send(sender=User, request=request, user=user)
                send_verification_email_to_address(request, EmailAddress.objects.get(user=user), signup=True)
    except IntegrityError:  # a concurrent request made the account
        return


def check_password(*, request: HttpRequest, email: str, password: str) -> User:
    """Return the user who may log in with these. The caller counts the tries.

    Raises WrongPassword, NotVerified or AccountCloses.
    """
    user = authenticate(request, email=email, password=password)
    if not isinstance(user, User):
        raise WrongPassword(_("The e-mail address or the password is wrong."))
    if not EmailAddress.objects.filter(user=user, verified=True).exists():
        raise NotVerified(_("Confirm your e-mail address first: follow the link we mailed."))
    if user.closes_at is not None:
        raise AccountCloses(_("This account is about to be deleted, as you asked. Log in on the pages to keep it."))
    return user


@transaction.atomic
def verify_email(*, request: HttpRequest, key: str) -> None:
    """Confirm the address of a mailed key. Raises FieldsRefused for a key that is wrong, old or used."""
    confirmation = EmailConfirmationHMAC.from_key(key)
    if confirmation is None or not confirmation.confirm(request):
        raise FieldsRefused({"key": [_("The key is wrong, too old, or was used before.")]})


def resend_verification(*, request: HttpRequest, email: str) -> None:
    """Mail the link again if the address is unconfirmed; allauth sends at most one in three minutes."""
    address = EmailAddress.objects.filter(email__iexact=email, verified=False).select_related("user").first()
    if address is not None:
        send_verification_email_to_address(request, address)


def request_reset(*, request: HttpRequest, email: str) -> None:
    """Mail a link that sets a new password; without an account, mail that. Raises FieldsRefused."""
    form = ResetPasswordForm({"email": email})
    _demand_valid(form)
    form.save(request)


def reset_password(*, key: str, password: str) -> User:
    """Set a new password with a mailed key, which works once; end every log-in. Raises FieldsRefused."""
    uid, _dash, token = key.partition("-")
    found = UserTokenForm({"uidb36": uid, "key": token})
    if not found.is_valid() or not found.reset_user.is_active:
        raise FieldsRefused({"key": [_("The key is wrong, too old, or was used before.")]})
    user: User = found.reset_user
    form = ResetPasswordKeyForm({"password1": password, "password2": password}, user=user, temp_key=token)
    _demand_valid(form)
    with transaction.atomic():
        form.save()
        revoke_sessions(user=user)
        get_adapter().send_notification_mail("account/email/password_reset", user)
    open_for_user(user)
    return user


def confirm_password(*, request: HttpRequest, user: User, password: str) -> None:
    """Check the password of a user who is logged in. A wrong one counts like one at a log-in.

    Raises FieldsRefused for a wrong password, RateLimited after too many.
    """
    demand_open_for(request, user.email)
    if not user.check_password(password):
        count_wrong_password(request, user.email)
        raise FieldsRefused({"password": [_("The password is wrong.")]})


def confirm_recently(*, request: HttpRequest, session: ApiSession, password: str | None) -> None:
    """Demand a recent log-in or the right password.

    Raises PasswordWanted if the log-in is older than ACCOUNT_REAUTHENTICATION_TIMEOUT and no password was sent,
    FieldsRefused for a wrong password.
    """
    if password is not None:
        confirm_password(request=request, user=session.user, password=password)
    elif timezone.now() - session.created_at > timedelta(seconds=settings.ACCOUNT_REAUTHENTICATION_TIMEOUT):
        raise PasswordWanted(_("Your log-in is older than five minutes: send your password in `password`, too."))


def change_password(*, session: ApiSession, current_password: str, password: str) -> None:
    """Set a new password. This log-in stays open, all others end. Raises FieldsRefused."""
    fields = {"oldpassword": current_password, "password1": password, "password2": password}
    form = ChangePasswordForm(data=fields, user=session.user)
    _demand_valid(form)
    with transaction.atomic():
        form.save()
        revoke_sessions(user=session.user, but=session)
        keep_session(session=session, user=session.user)
        get_adapter().send_notification_mail("account/email/password_changed", session.user)


def _demand_valid(form: Form) -> None:
    if not form.is_valid():
        errors = form.errors.get_json_data()
        raise FieldsRefused(
            {FIELD_NAMES.get(name, name): [error["message"] for error in found] for name, found in errors.items()}
        )
