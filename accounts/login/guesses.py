"""Guesses at passwords: how wrong passwords shut an account, and how its owner opens it again.

Wrong passwords are counted by account and by network. A browser in which the user has logged in before has its own
counter, so that guesses by strangers do not shut it out. When guesses shut an account, its owner gets a mail with a
link that opens it. A password reset by mail opens it, too.
"""

import secrets

from allauth.account.models import EmailAddress
from django.conf import settings
from django.core import signing
from django.core.cache import cache
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse

from accounts.login.devices import find_device
from accounts.mail.security_notices import tell_of_guesses
from accounts.models import User
from core.rest.throttles import ACCOUNT_LOCK, DEVICE, LOGIN, RateLimited, count_try, demand_allowed

SALT = "accounts.login_door"
LINK_SECONDS = 2 * 3600
LONGEST_WINDOW_SECONDS = 86_400  # of LOGIN: counts from before an opening have expired then
MAILED_AGAIN_SECONDS = 3600


def demand_open_for(request: HttpRequest, email: str) -> None:
    """Raise RateLimited while there are too many wrong passwords. This does not count as a try."""
    device = _known_device(request, email)
    if device:
        demand_allowed(request, DEVICE, device)
    else:
        demand_allowed(request, LOGIN, _counter(email))


def count_wrong_password(request: HttpRequest, email: str) -> None:
    """Count a wrong password, and mail the owner if it shuts the account. Raises RateLimited for one too many."""
    device = _known_device(request, email)
    if device:
        count_try(request, DEVICE, device)
        return
    try:
        count_try(request, LOGIN, _counter(email))
    finally:
        _tell_if_shut(request, email)


def open_by_link(token: str) -> User | None:
    """Open the account of a mailed link and return its user; None for a link that is forged, old or used."""
    try:
        kept = signing.loads(token, salt=SALT, max_age=LINK_SECONDS)
    except signing.BadSignature:
        return None
    user = User.objects.filter(pk=kept["user"], is_active=True).first()
    if user is None or kept["counter"] != _counter(kept["email"]):
        return None
    open_account(kept["email"])
    return user


def open_for_user(user: User) -> None:
    """Open the account under all its verified addresses. Call this for a user who has just proved to be the owner."""
    verified = user.emailaddress_set.filter(verified=True)  # type: ignore[attr-defined]
    for email in {user.email, *verified.values_list("email", flat=True)}:
        open_account(email)


def open_account(email: str) -> None:
    """Begin a new counter for the account. The old counter and its mailed links no longer have an effect."""
    cache.set(_opened_key(email), secrets.token_urlsafe(9), LONGEST_WINDOW_SECONDS)


def _counter(email: str) -> str:
    """The name of the account's counter of wrong passwords."""
    opened = cache.get(_opened_key(email))
    return f"{_plain(email)}|{opened}" if opened else _plain(email)


def _opened_key(email: str) -> str:
    return f"login-opened:{_plain(email)}"


def _plain(email: str) -> str:
    return email.strip().lower()


def _known_device(request: HttpRequest, email: str) -> str:
    """The browser's name if the account's user has logged in with it, else an empty text. No query without a cookie."""
    device = find_device(request)
    if device is None:
        return ""
    return device.name if _users_of(email).filter(pk__in=device.user_ids).exists() else ""


def _users_of(email: str) -> QuerySet[User]:
    """Users who log in with this address. Anybody can add it to their account, so it counts only if it is verified."""
    verified = EmailAddress.objects.filter(email=_plain(email), verified=True)
    return User.objects.filter(Q(email=_plain(email)) | Q(pk__in=verified.values("user")))


def _tell_if_shut(request: HttpRequest, email: str) -> None:
    counter = _counter(email)
    try:
        demand_allowed(request, ACCOUNT_LOCK, counter)
    except RateLimited:
        user = _users_of(email).filter(is_active=True).first()
        if user is not None and cache.add(f"login-shut-mailed:{counter}", True, MAILED_AGAIN_SECONDS):
            token = signing.dumps({"user": user.pk, "email": _plain(email), "counter": counter}, salt=SALT)
            path = reverse("account_open_login", args=[token])
            tell_of_guesses(user=user, link=settings.PUBLIC_URL.rstrip("/") + path)
