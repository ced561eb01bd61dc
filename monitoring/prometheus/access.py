"""Who may read `/metrics`: whoever sends METRICS_TOKEN, and clients in METRICS_NETWORKS."""

from django.conf import settings
from django.http import HttpRequest
from django.utils.crypto import constant_time_compare

from core.addresses import is_among
from core.client_addresses import client_address

SCHEME = "bearer "


def is_switched_on() -> bool:
    """Whether anybody may read the metrics."""
    return bool(settings.METRICS_TOKEN or settings.METRICS_NETWORKS)


def may_scrape(request: HttpRequest) -> bool:
    """Whether this client may read the metrics. A request with an Authorization header is judged by that alone."""
    authorization = request.META.get("HTTP_AUTHORIZATION", "")
    if authorization:
        return _has_token(authorization)
    return not _came_through_a_stranger(request) and is_among(client_address(request), settings.METRICS_NETWORKS)


def _has_token(authorization: str) -> bool:
    scheme, token = authorization[: len(SCHEME)], authorization[len(SCHEME) :].strip()
    is_right = constant_time_compare(token, settings.METRICS_TOKEN)
    return scheme.lower() == SCHEME and is_right and bool(settings.METRICS_TOKEN)


def _came_through_a_stranger(request: HttpRequest) -> bool:
    """Whether a proxy sent it that TRUSTED_PROXIES does not name. Its own address may be in a network of operators."""
    is_forwarded = "HTTP_X_FORWARDED_FOR" in request.META or "HTTP_FORWARDED" in request.META
    return is_forwarded and not is_among(request.META.get("REMOTE_ADDR", ""), settings.TRUSTED_PROXIES)
