"""The form that people sign up with, on the page and through the API."""

from typing import Any

from allauth.account.forms import SignupForm as AllauthSignupForm
from django.contrib.auth.hashers import make_password
from django.http import HttpRequest


class SignupForm(AllauthSignupForm):  # type: ignore[misc]  # it has no types
    """allauth's form, which takes equally long for a new address and for one that has an account."""

    def try_save(self, request: HttpRequest) -> Any:
        """Return the new user and no answer; or no user, and an answer that does not say that there is an account.

        Hashing the password takes most of the time. Without it here, a fast answer would reveal the account.
        """
        if self.account_already_exists:
            make_password(self.cleaned_data["password1"])
        return super().try_save(request)
