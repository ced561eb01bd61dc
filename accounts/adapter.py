"""Where allauth asks the house: guesses at passwords are counted once for the pages and the API together."""

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from rest_framework.exceptions import APIException

from accounts.api_limits import LOGIN, count_try, demand_open


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Our doors instead of allauth's own counting of failed log-ins."""

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """Raises ValidationError, which the form shows, while there were too many wrong passwords."""
        try:
            demand_open(request, LOGIN, str(credentials.get("email", "")))
        except APIException as error:
            raise ValidationError(str(error.detail)) from error

    def authentication_failed(self, request: HttpRequest, **credentials: Any) -> None:
        """Count a wrong password. Raises ValidationError for the one that shuts the door."""
        try:
            count_try(request, LOGIN, str(credentials.get("email", "")))
        except APIException as error:
            raise ValidationError(str(error.detail)) from error

    def add_message(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        """Messages are for pages: an answer of the API carries no cookie."""
        if not request.path.startswith("/api/"):
            super().add_message(request, *args, **kwargs)
