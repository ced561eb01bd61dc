"""Until when the certificate of PUBLIC_URL is valid, as whoever opens the site meets it."""

import socket
import ssl
from datetime import datetime
from urllib.parse import urlsplit

from cryptography import x509

SECONDS = 10.0


def read_end(url: str) -> datetime | None:
    """When the certificate at this https URL ends; None for http. Raises OSError if it cannot be seen.

    The certificate is not verified: one that has ended already is what this is about.
    """
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        return None
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection((parts.hostname, parts.port or 443), SECONDS) as raw,
        context.wrap_socket(raw, server_hostname=parts.hostname) as encrypted,
    ):
        found = encrypted.getpeercert(binary_form=True)
    return x509.load_der_x509_certificate(found).not_valid_after_utc if found else None
