"""Headers that every answer has, whoever made it: a page, the APIs, a file, or a refusal that no view has seen."""

from collections.abc import Iterable
from http import HTTPStatus

from django.conf import settings

# What no page of ours asks a browser for, so that nothing that is ever smuggled into one may.
UNUSED_FEATURES = (
    "accelerometer", "autoplay", "browsing-topics", "camera", "display-capture", "encrypted-media", "geolocation",
    "gyroscope", "hid", "magnetometer", "microphone", "midi", "payment", "publickey-credentials-create",
    "publickey-credentials-get", "screen-wake-lock", "serial", "usb", "xr-spatial-tracking",
)  # fmt: skip
HEADERS = {
    "Permissions-Policy": ", ".join(f"{feature}=()" for feature in UNUSED_FEATURES),
    "Cross-Origin-Resource-Policy": "same-origin",  # an answer that a browser got by CORS is not asked about it
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",  # a page has its own
}
_RAW = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
_TECHNICAL_PAGES = (HTTPStatus.NOT_FOUND, HTTPStatus.INTERNAL_SERVER_ERROR)  # Django's own, with styles in the page

Headers = list[tuple[bytes, bytes]]


def complete_headers(headers: Iterable[tuple[bytes, bytes]], status: int) -> Headers:
    """The headers of an ASGI answer with those of HEADERS that are missing."""
    given = [(name, value) for name, value in headers]
    names = {name.lower() for name, _value in given}
    if settings.DEBUG and status in _TECHNICAL_PAGES:
        names.add(b"content-security-policy")
    return given + [(name, value) for name, value in _RAW if name not in names]
