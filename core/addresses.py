"""Internet addresses: which proxies are trusted, where a request came from, and what counts as one place.

Plain functions that know nothing of Django: the settings are checked with them when Tally starts.
"""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network
IPV6_PREFIX = 64  # what one customer of a provider gets, at least: within it addresses cost nothing


def read_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Addresses and networks such as `10.0.0.0/8`. Raises ValueError for anything else, and for the whole internet."""
    networks = tuple(ip_network(text.strip()) for text in texts)
    for network in networks:
        if network.prefixlen == 0:
            raise ValueError(f"{network} would trust everybody")
    return networks


def find_client(peer: str, forwarded: str, trusted: tuple[Network, ...]) -> str:
    """Where a request came from: the peer, or what trusted proxies say in `X-Forwarded-For`.

    Each proxy adds at the right end whom it was asked by, so the list is read from there until somebody who is not
    trusted. What stands left of that, the client may have written. An entry that is no address ends the reading.
    """
    client = _plain(peer)
    for entry in reversed(forwarded.split(",")):
        if not _is_among(client, trusted):
            break
        told = _plain(_without_port(entry.strip()))
        if not _is_address(told):
            break
        client = told
    return client


def network_of(address: str) -> str:
    """What is counted together: an IPv4 address, the /64 of an IPv6 address, or any other text as it is."""
    if not _is_address(address):
        return address
    found = ip_address(_plain(address))
    if isinstance(found, IPv6Address):
        return str(ip_network((found, IPV6_PREFIX), strict=False))
    return str(found)


def _plain(text: str) -> str:
    """An address in its shortest form; an IPv4 address that is written as IPv6 is an IPv4 address."""
    if not _is_address(text):
        return text
    found = ip_address(text)
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return str(mapped or found)


def _without_port(text: str) -> str:
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_among(text: str, networks: tuple[Network, ...]) -> bool:
    return _is_address(text) and any(ip_address(text) in network for network in networks)
