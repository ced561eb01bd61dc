"""Where allauth asks the house: what an address is, where links in mails lead, and how guesses at passwords count."""

from typing import Any
from urllib.parse import urlsplit, urlunsplit

from allauth.account.adapter import DefaultAccountAdapter
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from rest_framework.exceptions import APIException

from accounts.login import devices
from accounts.login.guesses import count_wrong_password, demand_open_for
from accounts.mail import security_notices
from accounts.models import User, clean_address
from core.client_addresses import client_address


class PublicSite:
    """What allauth's mails call the site."""

    name = "Tally"

    @property
    def domain(self) -> str:
        return str(settings.PUBLIC_URL)


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Our own limits of guesses take the place of allauth's counting of failed log-ins."""

    def clean_email(self, email: str) -> str:
        """The address as users have it, at sign-up and for a further address. Raises ValidationError."""
        return clean_address(email)

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Send a mail whose links all lead to PUBLIC_URL, whatever host the request was made to."""
        links = {name: _public(url) for name, url in context.items() if name.endswith("_url")}
        super().send_mail(template_prefix, email, {**context, **links, "current_site": PublicSite()})

    def get_client_ip(self, request: HttpRequest) -> str:
        """The address a request came from."""
        return client_address(request)

    @transaction.atomic
    def login(self, request: HttpRequest, user: User) -> None:
        """Log somebody in. The owner hears of it when the device is new; nobody is told of their very first log-in."""
        is_news = user.last_login is not None and not devices.is_known(request, user)
        super().login(request, user)
        if is_news:
            agent = request.headers.get("User-Agent", "")[:200]
            security_notices.tell_of_log_in(user=user, address=client_address(request), user_agent=agent)

    def post_login(self, request: HttpRequest, user: User, **kwargs: Any) -> HttpResponse:
        """The answer to a log-in, which makes the browser known."""
        response: HttpResponse = super().post_login(request, user, **kwargs)
        devices.remember_device(response=response, request=request, user=user)
        return response

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """Raises ValidationError, which the form shows, while there were too many wrong passwords."""
        try:
            demand_open_for(request, str(credentials.get("email", "")))
        except APIException as error:
            raise ValidationError(str(error.detail)) from error

    def authentication_failed(self, request: HttpRequest, **credentials: Any) -> None:
        """Count a wrong password. Raises ValidationError for the one that reaches the limit."""
        try:
            count_wrong_password(request, str(credentials.get("email", "")))
        except APIException as error:
            raise ValidationError(str(error.detail)) from error

    def add_message(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        """Messages are for pages: an answer of the API carries no cookie."""
        if not request.path.startswith("/api/"):
            super().add_message(request, *args, **kwargs)


def _public(url: str) -> str:
    """The same page at PUBLIC_URL. The host of a link is otherwise what the request says it is, so anybody's."""
    parts = urlsplit(url)
    return str(settings.PUBLIC_URL).rstrip("/") + urlunsplit(("", "", parts.path, parts.query, parts.fragment))
