"""Finds the address of the client that sent a Django request, also behind the proxies that the settings trust."""

from django.conf import settings
from django.http import HttpRequest

from core.addresses import find_client, network_of


def client_address(request: HttpRequest) -> str:
    """The client's address. `X-Forwarded-For` counts only if it comes from one of TRUSTED_PROXIES."""
    peer = request.META.get("REMOTE_ADDR") or "unknown"
    return find_client(peer, request.META.get("HTTP_X_FORWARDED_FOR", ""), settings.TRUSTED_PROXIES)


def client_network(request: HttpRequest) -> str:
    """Return the client's IPv4 address, or the /64 network of its IPv6 address.

    Limits count the requests without a log-in by it.
    """
    return network_of(client_address(request))
