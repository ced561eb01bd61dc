"""The certificate of the site is looked at where everybody meets it."""

import ssl
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import HTTPServer, SimpleHTTPRequestHandler

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from monitoring.alerts.certificate import read_end
from monitoring.models import AlertRound
from monitoring.tasks import look_at_certificate
from tests.monitoring.alerts.going import go, states, subjects


def write_certificate(path, ends_at):
    """A certificate that it signed itself, with its key, as one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(ends_at - timedelta(days=90)).not_valid_after(ends_at)
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(private + builder.sign(key, hashes.SHA256()).public_bytes(pem))


@contextmanager
def site(path, ends_at):
    """An https server with such a certificate; its URL."""
    write_certificate(path, ends_at)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    server = HTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"https://localhost:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def in_days(days):
    return datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)


def test_one_that_ends_soon_opens_an_alert_and_a_new_one_closes_it(tmp_path, settings, operator, quiet):
    with site(tmp_path / "soon.pem", in_days(5)) as settings.PUBLIC_URL:
        look_at_certificate()
    go(0)
    assert states("certificate") == ["open"]
    go(16)
    assert len(subjects("The certificate nears its end")) == 1
    with site(tmp_path / "new.pem", in_days(90)) as settings.PUBLIC_URL:
        look_at_certificate()
    go(32)
    go(333)
    assert states("certificate") == ["closed"]


@pytest.mark.parametrize("days", [-3, 5])
def test_the_end_is_read_also_of_one_that_has_ended(tmp_path, days):
    ends_at = in_days(days)
    with site(tmp_path / "site.pem", ends_at) as url:
        assert read_end(url) == ends_at


def test_a_site_without_encryption_has_none():
    assert read_end("http://127.0.0.1:1") is None


def test_a_site_that_is_away_changes_nothing(settings, db):
    known = in_days(30)
    AlertRound.objects.create(pk=1, certificate_ends_at=known)
    settings.PUBLIC_URL = "https://127.0.0.1:1"
    look_at_certificate()
    assert AlertRound.objects.get().certificate_ends_at == known
