"""allauth's adapter: which addresses are valid, where links in mails lead, and how wrong passwords are counted."""

from typing import Any
from urllib.parse import urlsplit, urlunsplit

from allauth.account.adapter import DefaultAccountAdapter
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import translation
from rest_framework.exceptions import APIException

from accounts.login import devices
from accounts.login.guesses import count_wrong_password, demand_open_for
from accounts.mail import security_notices
from accounts.models import User, clean_address
from accounts.profile import language_of
from core.addresses import is_address
from core.client_addresses import client_address


class PublicSite:
    """The name and domain of the site in allauth's mails."""

    name = "Tally"

    @property
    def domain(self) -> str:
        return str(settings.PUBLIC_URL)


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Replaces allauth's counting of failed log-ins by Tally's own limits."""

    def clean_email(self, email: str) -> str:
        """Return the address as it is stored, at sign-up and for a further address. Raises ValidationError."""
        return clean_address(email)

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Send a mail in the customer's language. All its links lead to PUBLIC_URL, whatever host the request names."""
        links = {name: _public(url) for name, url in context.items() if name.endswith("_url")}
        user = context.get("user")
        language = language_of(user) if isinstance(user, User) else translation.get_language()
        with translation.override(language):
            super().send_mail(template_prefix, email, {**context, **links, "current_site": PublicSite()})

    def get_client_ip(self, request: HttpRequest) -> str:
        """The client's address; 0.0.0.0 if a server behind a Unix socket was told none. The column takes no words."""
        address = client_address(request)
        return address if is_address(address) else "0.0.0.0"  # noqa: S104  nothing listens there

    @transaction.atomic
    def login(self, request: HttpRequest, user: User) -> None:
        """Log a user in, and mail the owner if the device is new. The very first log-in of a user causes no mail."""
        is_news = user.last_login is not None and not devices.is_known(request, user)
        super().login(request, user)
        if is_news:
            agent = request.headers.get("User-Agent", "")[:200]
            security_notices.tell_of_log_in(user=user, address=client_address(request), user_agent=agent)

    def post_login(self, request: HttpRequest, user: User, **kwargs: Any) -> HttpResponse:
        """Answer a log-in, and remember the browser as a known device."""
        response: HttpResponse = super().post_login(request, user, **kwargs)
        devices.remember_device(response=response, request=request, user=user)
        return response

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:  # noqa: ARG002  allauth passes it
        """Where a changed password leads."""
        return reverse("settings:signing_in")

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """Raises ValidationError, which the form shows, while there are too many wrong passwords."""
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

    def add_message(
        self, request: HttpRequest, level: int, message_template: str | None = None, *args: Any, **kwargs: Any
    ) -> None:
        """Add a message: not that somebody logged in, which they see; nor in the API, where it would set a cookie."""
        if message_template != "account/messages/logged_in.txt" and not request.path.startswith("/api/"):
            super().add_message(request, level, message_template, *args, **kwargs)


def _public(url: str) -> str:
    """The same page at PUBLIC_URL. allauth takes a link's host from the request, so an attacker could choose it."""
    parts = urlsplit(url)
    return str(settings.PUBLIC_URL).rstrip("/") + urlunsplit(("", "", parts.path, parts.query, parts.fragment))
