"""Authenticates callers of `/v1/`, whose views are not REST framework's, and counts their requests."""

from django.http import HttpRequest
from rest_framework.exceptions import AuthenticationFailed, NotAuthenticated

from accounts.callers.authentication import has_scope, read_credential
from accounts.models import ApiKey, Scope, User
from core.rest.throttles import count_request


class ScopeMissing(Exception):
    """The API key lacks the scope `chat`."""


def admit(request: HttpRequest) -> tuple[User, ApiKey | None]:
    """Authenticate a request and count it against the caller's limits.

    Returns the user and their API key, None with an access token. Raises AuthenticationFailed, NotAuthenticated,
    ScopeMissing and RateLimited.
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
    setattr(request, "is_of_a_caller", True)  # noqa: B010  not in the types; `client_retries` reads it
    count_request(request, user=credential.user, key=key)
    if not has_scope(credential, Scope.CHAT):
        count_request(request, user=None, key=None)  # also count against the address, to slow guessing of scopes
        raise ScopeMissing
    return credential.user, key
