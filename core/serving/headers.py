"""Security headers of every answer: of pages, the APIs and files, and of refusals before any view is called."""

from collections.abc import Iterable
from http import HTTPStatus

from django.conf import settings

# Browser features that no page of Tally uses. They are forbidden, so that injected code cannot use them either.
UNUSED_FEATURES = (
    "accelerometer", "autoplay", "browsing-topics", "camera", "display-capture", "encrypted-media", "geolocation",
    "gyroscope", "hid", "magnetometer", "microphone", "midi", "payment", "screen-wake-lock",
    "serial", "usb", "xr-spatial-tracking",
)  # fmt: skip
OWN_FEATURES = ("publickey-credentials-create", "publickey-credentials-get")  # passkeys, for this site alone
HEADERS = {
    "Permissions-Policy": ", ".join(
        [f"{feature}=()" for feature in UNUSED_FEATURES] + [f"{feature}=(self)" for feature in OWN_FEATURES]
    ),
    "Cross-Origin-Resource-Policy": "same-origin",  # browsers ignore it for CORS requests
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",  # pages have their own
}
_RAW = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
_TECHNICAL_PAGES = (HTTPStatus.NOT_FOUND, HTTPStatus.INTERNAL_SERVER_ERROR)  # Django's debug pages have inline styles

Headers = list[tuple[bytes, bytes]]


def complete_headers(headers: Iterable[tuple[bytes, bytes]], status: int) -> Headers:
    """Return the headers of an ASGI answer, with those of HEADERS added that are missing."""
    given = [(name, value) for name, value in headers]
    names = {name.lower() for name, _value in given}
    if settings.DEBUG and status in _TECHNICAL_PAGES:
        names.add(b"content-security-policy")
    return given + [(name, value) for name, value in _RAW if name not in names]
