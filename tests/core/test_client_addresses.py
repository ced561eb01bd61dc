"""Where a request came from: X-Forwarded-For is believed from trusted proxies alone, and from its right end."""

import runpy

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from config.settings import demands
from core.addresses import find_client, network_of, read_networks
from core.client_addresses import client_address, client_network

BASE = settings.BASE_DIR / "config" / "settings" / "base.py"
TRUSTED = read_networks(["10.0.0.0/8", "::1", "127.0.0.1"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.1", "198.51.100.7", "192.0.2.1"),  # a stranger says what they like
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "192.0.2.1", "192.0.2.1"),
        ("10.0.0.1", "1.1.1.1, 192.0.2.1", "192.0.2.1"),  # what stands left, the client wrote
        ("10.0.0.1", "1.1.1.1, 192.0.2.1, 10.0.0.2", "192.0.2.1"),  # two proxies
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),  # a client among the proxies
        ("10.0.0.1", "1.1.1.1, nonsense", "10.0.0.1"),
        ("10.0.0.1", "192.0.2.1:4711", "192.0.2.1"),
        ("::1", "[2001:db8::1]:4711", "2001:db8::1"),
        ("::1", "2001:db8::1", "2001:db8::1"),
        ("::ffff:10.0.0.1", "192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "", "192.0.2.1"),
        ("unknown", "192.0.2.1", "unknown"),
    ],
)
def test_the_client_is_the_first_from_the_right_whom_no_trusted_proxy_is(peer, forwarded, client):
    assert find_client(peer, forwarded, TRUSTED) == client


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("unknown", "unknown"),
    ],
)
def test_ipv6_counts_by_its_64(address, place):
    assert network_of(address) == place


def test_requests_are_read_by_the_setting(rf, settings):
    asked = rf.get("/", REMOTE_ADDR="10.0.0.1", HTTP_X_FORWARDED_FOR="9.9.9.9, 2001:db8::9")
    settings.TRUSTED_PROXIES = ()
    assert client_address(asked) == "10.0.0.1"
    settings.TRUSTED_PROXIES = TRUSTED
    assert (client_address(asked), client_network(asked)) == ("2001:db8::9", "2001:db8::/64")


def test_no_header_gives_a_stranger_another_counter(api, db, one_minute):
    """Not even one who asks from this very machine."""
    statuses = [
        api.post(
            "/api/v1/auth/register",
            {"email": f"n{n}@example.com", "password": "a-Long-passphrase-1"},
            HTTP_X_FORWARDED_FOR=f"192.0.2.{n}",
        ).status_code
        for n in range(11)
    ]
    assert statuses == [202] * 10 + [429]


def test_a_whole_64_is_one_counter(api, db, one_minute):
    body = {"password": "a-Long-passphrase-1"}
    statuses = [
        api.post(
            "/api/v1/auth/register", body | {"email": f"n{n}@example.com"}, REMOTE_ADDR=f"2001:db8::{n}"
        ).status_code
        for n in range(1, 12)
    ]
    assert statuses == [202] * 10 + [429]


def test_customers_behind_a_trusted_proxy_have_their_own_counters(api, db, settings, one_minute):
    settings.TRUSTED_PROXIES = TRUSTED
    body = {"password": "a-Long-passphrase-1"}
    statuses = {
        api.post(
            "/api/v1/auth/register", body | {"email": f"n{n}@example.com"}, HTTP_X_FORWARDED_FOR=f"192.0.2.{n}"
        ).status_code
        for n in range(11)
    }
    assert statuses == {202}


def test_the_web_server_rewrites_no_address_itself():
    from core.serving.web_server import WebWorker

    assert WebWorker.CONFIG_KWARGS["proxy_headers"] is False


@pytest.mark.parametrize("wrong", ["proxy.internal", "10.0.0.0/33", "10.0.0.1/8", "*", "0.0.0.0/0", "::/0"])
def test_a_wrong_proxy_is_refused_at_the_start(monkeypatch, wrong):
    monkeypatch.setattr(demands, "_findings", [])
    monkeypatch.setenv("TRUSTED_PROXIES", wrong)
    runpy.run_path(str(BASE))
    with pytest.raises(ImproperlyConfigured, match="TRUSTED_PROXIES"):
        demands.refuse()


def test_right_proxies_are_taken(monkeypatch):
    monkeypatch.setenv("TRUSTED_PROXIES", "10.0.0.0/8, ::1")
    assert [str(one) for one in runpy.run_path(str(BASE))["TRUSTED_PROXIES"]] == ["10.0.0.0/8", "::1/128"]
