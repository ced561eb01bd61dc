"""Known devices: browsers with a signed cookie, and programs that logged in through the API before.

A log-in from an unknown device is mailed to the owner. Wrong guesses by strangers do not shut out a known browser.
"""

import secrets
from dataclasses import dataclass

from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponseBase

from accounts.models import ApiSession, User
from core.addresses import network_of

COOKIE_SECONDS = 400 * 86_400  # browsers keep none for longer
MOST_USERS = 10  # users of one device, the latest
MOST_PLACES = 100  # of earlier log-ins that are compared
SALT = "accounts.devices"


@dataclass(frozen=True, slots=True)
class Device:
    """A browser, and the ids of the users who logged in on it, the latest first."""

    name: str
    user_ids: tuple[int, ...] = ()


def find_device(request: HttpRequest) -> Device | None:
    """The device that the cookie names; None without a cookie or with an invalid signature."""
    try:
        kept = signing.loads(request.COOKIES.get(settings.DEVICE_COOKIE_NAME, ""), salt=SALT, max_age=COOKIE_SECONDS)
    except signing.BadSignature:
        return None
    return Device(kept["device"], tuple(kept["users"]))


def is_known(request: HttpRequest, user: User) -> bool:
    """Whether this user has logged in with this browser before."""
    device = find_device(request)
    return device is not None and user.pk in device.user_ids


def remember_device(*, response: HttpResponseBase, request: HttpRequest, user: User) -> None:
    """Remember in the response's cookie that the user has just logged in with this browser."""
    device = find_device(request) or Device(secrets.token_urlsafe(16))
    user_ids = [user.pk, *(user_id for user_id in device.user_ids if user_id != user.pk)]
    response.set_cookie(
        settings.DEVICE_COOKIE_NAME,
        signing.dumps({"device": device.name, "users": user_ids[:MOST_USERS]}, salt=SALT),
        max_age=COOKIE_SECONDS,
        httponly=True,
        samesite="Lax",
        secure=settings.SESSION_COOKIE_SECURE,
    )


def is_known_program(*, user: User, address: str | None, user_agent: str) -> bool:
    """Whether the user has logged in through the API with this User-Agent from this network before.

    Log-ins are purged after some time, so an old one is not found.
    """
    earlier = ApiSession.objects.filter(user=user, user_agent=user_agent).exclude(address=None)
    places = earlier.order_by().values_list("address", flat=True).distinct()[:MOST_PLACES]
    return address is not None and network_of(address) in {network_of(place) for place in places if place}
