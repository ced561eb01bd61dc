"""The form that people sign up with, on the page and through the API."""

from typing import Any

from allauth.account.forms import SignupForm as AllauthSignupForm
from django.contrib.auth.hashers import make_password
from django.http import HttpRequest


class SignupForm(AllauthSignupForm):  # type: ignore[misc]  # it has no types
    """allauth's own, which takes as long for an address that has an account as for a new one."""

    def try_save(self, request: HttpRequest) -> Any:
        """The new user and no answer, or no user and an answer that tells nothing.

        Hashing the password takes most of the time. Without it here, a short wait would tell who has an account.
        """
        if self.account_already_exists:
            make_password(self.cleaned_data["password1"])
        return super().try_save(request)
