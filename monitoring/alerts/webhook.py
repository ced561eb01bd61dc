"""The webhook: one signed POST for each message, as Standard Webhooks says (https://www.standardwebhooks.com).

The receiver checks `webhook-signature`, an HMAC-SHA256 over `<webhook-id>.<webhook-timestamp>.<body>` in base64, and
drops an id that it has seen. Only public addresses are called, and hosts that ALERT_WEBHOOK_HOSTS names. The address
that was checked is the one that is called, no redirect is followed, and a receiver that hangs is left after a time.
"""

import base64
import binascii
import hashlib
import hmac
import http.client
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

from django.conf import settings

SECONDS = 10.0  # for all of one try
PREFIX, LEAST_KEY_BYTES = "whsec_", 24
NAT64 = ip_network("64:ff9b::/96")


class NotTaken(Exception):
    """The receiver did not take the message; the text says why."""


@dataclass(frozen=True, slots=True)
class Receiver:
    """Where messages go, taken from ALERT_WEBHOOK_URL."""

    host: str
    port: int
    path: str
    is_encrypted: bool

    @property
    def is_listed(self) -> bool:
        """Whether operators allow this host whatever its address is."""
        return self.host in settings.ALERT_WEBHOOK_HOSTS


def read_receiver(url: str) -> Receiver:
    """Raises ValueError, with a reason that follows a colon, for a URL that cannot be called."""
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise ValueError("write it as https://host/path")
    if parts.username or parts.fragment:
        raise ValueError("it has a user or a fragment, which is not sent")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    is_encrypted = parts.scheme == "https"
    receiver = Receiver(parts.hostname, parts.port or (443 if is_encrypted else 80), path, is_encrypted)
    if not is_encrypted and not receiver.is_listed:
        raise ValueError("it begins with https://, unless ALERT_WEBHOOK_HOSTS names its host")
    return receiver


def read_key(secret: str) -> bytes:
    """The key of ALERT_WEBHOOK_SECRET. Raises ValueError, with a reason that follows a colon."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not secret.startswith(PREFIX) or len(key) < LEAST_KEY_BYTES:
        raise ValueError(f"{PREFIX} and at least {LEAST_KEY_BYTES} random bytes in base64")
    return key


def sign(key: bytes, message_id: str, timestamp: int, body: str) -> str:
    """The value of `webhook-signature`."""
    signed = hmac.new(key, f"{message_id}.{timestamp}.{body}".encode(), hashlib.sha256).digest()
    return f"v1,{base64.b64encode(signed).decode()}"


def post(message_id: str, body: str, now: datetime) -> None:
    """Send one message. Raises NotTaken for every answer but 2xx, and for none."""
    try:
        receiver, key = read_receiver(settings.ALERT_WEBHOOK_URL), read_key(settings.ALERT_WEBHOOK_SECRET)
    except ValueError as error:
        raise NotTaken(f"the settings of the webhook are wrong: {error}") from error
    timestamp = int(now.timestamp())
    headers = {
        "content-type": "application/json",
        "user-agent": "Tally",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(key, message_id, timestamp, body),
    }
    try:
        with _connected(receiver) as connection:
            connection.request("POST", receiver.path, body.encode(), headers)
            status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise NotTaken(f"{type(error).__name__}: {error}") from error
    if not 200 <= status < 300:
        raise NotTaken(f"answered {status}" + (", a redirect, which is not followed" if status // 100 == 3 else ""))


@contextmanager
def _connected(receiver: Receiver) -> Iterator[http.client.HTTPConnection]:
    """A connection that is cut after SECONDS, whatever the receiver does meanwhile."""
    family, address = _allowed_address(receiver)
    raw = socket.socket(family, socket.SOCK_STREAM)
    raw.settimeout(SECONDS)
    was_cut = threading.Event()
    limit = threading.Timer(SECONDS, _cut, [raw, was_cut])
    limit.daemon = True
    limit.start()
    connection = http.client.HTTPConnection(receiver.host, receiver.port)
    try:
        raw.connect((address, receiver.port))
        if receiver.is_encrypted:
            connection.sock = ssl.create_default_context().wrap_socket(raw, server_hostname=receiver.host)
        else:
            connection.sock = raw
        yield connection
        if was_cut.is_set():  # half an answer looks like a whole one without its last headers
            raise NotTaken(f"its answer took longer than {SECONDS:g} s")
    finally:
        limit.cancel()
        connection.close()
        raw.close()


def _cut(raw: socket.socket, was_cut: threading.Event) -> None:
    """Whoever waits for this socket gets an error or an end at once."""
    was_cut.set()
    try:
        raw.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it has ended already


def _allowed_address(receiver: Receiver) -> tuple[socket.AddressFamily, str]:
    """The first address of the host. Raises NotTaken if one of them is not public and the host is not listed."""
    try:
        found = socket.getaddrinfo(receiver.host, receiver.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise NotTaken(f"{receiver.host} has no address: {error}") from error
    addresses = [(family, str(address[0])) for family, _type, _protocol, _name, address in found]
    for _family, address in addresses:
        if not receiver.is_listed and not _is_public(address):
            raise NotTaken(f"{address} is no public address, and ALERT_WEBHOOK_HOSTS does not name {receiver.host}")
    return addresses[0]


def _is_public(text: str) -> bool:
    """Whether the whole internet knows the address. One that carries another address is judged by that, or refused."""
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped:
            address = address.ipv4_mapped
        elif address.sixtofour or address.teredo or address in NAT64:
            return False
    return address.is_global and not address.is_multicast
