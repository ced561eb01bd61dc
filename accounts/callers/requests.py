"""The request that views behind a log-in get."""

from django.http import HttpRequest
from django_htmx.middleware import HtmxDetails

from accounts.models import User


class Request(HttpRequest):
    """A request of somebody who is logged in; `htmx` is set by its middleware."""

    user: User
    htmx: HtmxDetails
