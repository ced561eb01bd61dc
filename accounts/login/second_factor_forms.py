"""allauth's forms of the second factor, with Tally's limit of wrong codes, by the hour and the day too."""

from typing import Any

from allauth.core import context
from allauth.mfa.base.forms import AuthenticateForm as AllauthAuthenticateForm
from allauth.mfa.base.forms import ReauthenticateForm as AllauthReauthenticateForm
from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _
from rest_framework.exceptions import APIException

from accounts.login.second_factor import count_wrong_code, demand_codes_open, take_code


class CountedCode(forms.Form):
    """Refuses every code while there were too many wrong ones, and says for how long."""

    user: Any

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["code"].label = _("Code of your app, or a recovery code")
        self.fields["code"].widget.attrs |= {"class": "field num", "inputmode": "numeric", "placeholder": ""}

    def clean_code(self) -> Any:
        """Return the right code. Raises ValidationError."""
        try:
            demand_codes_open(context.request, self.user)
            return self._check()
        except APIException as error:
            raise ValidationError(str(error.detail)) from error

    def _check(self) -> Any:
        try:
            code = super().clean_code()  # type: ignore[misc]  # the class beside this one has it
            if not take_code(self.user, code):
                raise ValidationError(_("This code was used before. Wait for the next one."))
            return code
        except ValidationError:
            count_wrong_code(context.request, self.user)
            raise


class AuthenticateForm(CountedCode, AllauthAuthenticateForm):  # type: ignore[misc]  # it has no types
    """The code at a log-in."""


class ReauthenticateForm(CountedCode, AllauthReauthenticateForm):  # type: ignore[misc]  # it has no types
    """The code of somebody who is logged in."""
