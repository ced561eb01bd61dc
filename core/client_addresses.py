"""Where a request came from, as the settings say whom to believe."""

from django.conf import settings
from django.http import HttpRequest

from core.addresses import find_client, network_of


def client_address(request: HttpRequest) -> str:
    """The address a request came from; X-Forwarded-For is believed from TRUSTED_PROXIES alone."""
    peer = request.META.get("REMOTE_ADDR") or "unknown"
    return find_client(peer, request.META.get("HTTP_X_FORWARDED_FOR", ""), settings.TRUSTED_PROXIES)


def client_network(request: HttpRequest) -> str:
    """What a request is counted by before anybody logs in: its IPv4 address, or the /64 of its IPv6 address."""
    return network_of(client_address(request))
