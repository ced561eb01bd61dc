"""Devices that somebody has logged in on: a signed cookie in a browser, an earlier log-in of a program.

A log-in from any other is told to the owner, and guesses of strangers do not shut a known device out.
"""

import secrets
from dataclasses import dataclass

from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponseBase

from accounts.models import ApiSession, User
from core.addresses import network_of

COOKIE_SECONDS = 400 * 86_400  # browsers keep none for longer
MOST_USERS = 10  # of one device, the latest
MOST_PLACES = 100  # that are looked at
SALT = "accounts.devices"


@dataclass(frozen=True, slots=True)
class Device:
    """A browser, and the ids of the users who logged in on it, the latest first."""

    name: str
    user_ids: tuple[int, ...] = ()


def find_device(request: HttpRequest) -> Device | None:
    """The device that the cookie names; None without a cookie, and for one that we did not sign."""
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
    """Make the browser known to a user who has just logged in."""
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
    """Whether a program of this name has logged in from this place through the API; log-ins are kept for some time."""
    earlier = ApiSession.objects.filter(user=user, user_agent=user_agent).exclude(address=None)
    places = earlier.order_by().values_list("address", flat=True).distinct()[:MOST_PLACES]
    return address is not None and network_of(address) in {network_of(place) for place in places if place}
