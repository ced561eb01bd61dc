"""The type of request in views that need a log-in."""

from django.http import HttpRequest
from django_htmx.middleware import HtmxDetails

from accounts.models import User


class Request(HttpRequest):
    """A request of a logged-in user; the middleware of django-htmx sets `htmx`."""

    user: User
    htmx: HtmxDetails
