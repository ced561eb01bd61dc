"""Internet addresses: reads the trusted proxies, finds the client of a request, groups addresses for counting.

These functions do not use Django, because the settings call them when Tally starts.
"""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network
IPV6_PREFIX = 64  # a provider's customer gets at least a /64, and may use all its addresses


def read_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Parse addresses and networks such as `10.0.0.0/8`. Raises ValueError for other text or the whole internet."""
    networks = tuple(ip_network(text.strip()) for text in texts)
    for network in networks:
        if network.prefixlen == 0:
            raise ValueError(f"{network} would trust everybody")
    return networks


def find_client(peer: str, forwarded: str, trusted: tuple[Network, ...]) -> str:
    """Return the client's address: the peer, or the one that trusted proxies name in `X-Forwarded-For`.

    Each proxy appends the address of its own client on the right. So the list is read from the right, up to the first
    address that is not a trusted proxy: the client itself may have written the entries left of it. An entry that is
    not an address ends the reading, too.
    """
    client = _plain(peer)
    for entry in reversed(forwarded.split(",")):
        if not is_among(client, trusted):
            break
        told = _plain(_without_port(entry.strip()))
        if not is_address(told):
            break
        client = told
    return client


def network_of(address: str) -> str:
    """Return what an address counts as: an IPv4 address as itself, an IPv6 address as its /64, other text as it is."""
    if not is_address(address):
        return address
    found = ip_address(_plain(address))
    if isinstance(found, IPv6Address):
        return str(ip_network((found, IPV6_PREFIX), strict=False))
    return str(found)


def is_among(text: str, networks: tuple[Network, ...]) -> bool:
    """Whether a text is an address in one of these networks."""
    return is_address(text) and any(ip_address(text) in network for network in networks)


def _plain(text: str) -> str:
    """An address in its shortest form. An IPv4 address in IPv6 notation becomes a plain IPv4 address."""
    if not is_address(text):
        return text
    found = ip_address(text)
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return str(mapped or found)


def _without_port(text: str) -> str:
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text


def is_address(text: str) -> bool:
    """Whether the text is an IPv4 or IPv6 address."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
