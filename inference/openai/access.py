"""Who may ask for answers outside REST framework's views."""

from django.http import HttpRequest
from rest_framework.exceptions import AuthenticationFailed, NotAuthenticated

from accounts.callers.authentication import has_scope, read_credential
from accounts.models import ApiKey, Scope, User
from core.rest.throttles import count_request


class ScopeMissing(Exception):
    """The API key lacks the scope `chat`."""


def admit(request: HttpRequest) -> tuple[User, ApiKey | None]:
    """The caller and their key, counted against their limits; None with an access token.

    Raises AuthenticationFailed, NotAuthenticated, ScopeMissing and RateLimited.
    """
    try:
        credential = read_credential(request)
    except AuthenticationFailed:
        count_request(request, user=None, key=None)
        raise
    if credential is None:
        count_request(request, user=None, key=None)
        raise NotAuthenticated
    key = credential if isinstance(credential, ApiKey) else None
    setattr(request, "is_of_a_caller", True)  # noqa: B010  not in the types; `retries` notes refusals of theirs alone
    count_request(request, user=credential.user, key=key)
    if not has_scope(credential, Scope.CHAT):
        count_request(request, user=None, key=None)  # whoever guesses at scopes is known by their address
        raise ScopeMissing
    return credential.user, key
