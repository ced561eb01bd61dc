"""`/metrics` is read with the token, or from the listed networks, and by nobody else."""

import pytest

from core.addresses import read_networks
from tests.monitoring.prometheus.reading import TOKEN

pytestmark = pytest.mark.django_db
HERE = "127.0.0.1"


@pytest.fixture
def status(client, settings):
    """Call it for the status that a client with these headers gets. Nobody is let in, unless the test says so."""
    settings.METRICS_TOKEN, settings.METRICS_NETWORKS, settings.TRUSTED_PROXIES = "", (), ()

    def ask(address=HERE, **headers):
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return client.get("/metrics?part=machine", REMOTE_ADDR=address, headers=names).status_code

    return ask


def test_where_nobody_may_there_is_no_such_page(status):
    assert status() == status(Authorization="Bearer ") == status(Authorization=f"Bearer {TOKEN}") == 404


def test_the_token_lets_in(status, settings):
    settings.METRICS_TOKEN = TOKEN
    assert status(Authorization=f"Bearer {TOKEN}") == status(Authorization=f"bearer {TOKEN} ") == 200


@pytest.mark.parametrize("wrong", ["", "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer ä"])
def test_no_other_text_does(status, settings, wrong):
    settings.METRICS_TOKEN = TOKEN
    assert status(Authorization=wrong) == 401


def test_an_empty_token_is_none(status, settings):
    settings.METRICS_NETWORKS = read_networks(["10.0.0.0/8"])
    assert status(Authorization="Bearer ") == status(Authorization="Bearer") == 401


def test_a_listed_network_lets_in_and_a_wrong_token_from_there_does_not(status, settings):
    settings.METRICS_NETWORKS = read_networks(["10.0.0.0/8"])
    assert (status("10.1.2.3"), status("11.1.2.3"), status("unknown")) == (200, 401, 401)
    assert status("10.1.2.3", Authorization="Bearer nonsense") == 401


def test_behind_a_trusted_proxy_the_client_counts(status, settings):
    settings.METRICS_NETWORKS = read_networks(["10.0.0.0/8"])
    settings.TRUSTED_PROXIES = read_networks(["10.0.0.1"])
    assert status("10.0.0.1", X_Forwarded_For="10.7.7.7") == 200
    assert status("10.0.0.1", X_Forwarded_For="203.0.113.7") == 401


@pytest.mark.parametrize("header", ["X_Forwarded_For", "Forwarded"])
def test_a_proxy_that_nobody_named_lets_nobody_in_by_its_own_address(status, settings, header):
    settings.METRICS_NETWORKS = read_networks(["10.0.0.0/8"])
    assert status("10.0.0.1", **{header: "10.0.0.5"}) == 401


def test_prometheus_asks_by_address_over_http_and_is_answered(status, settings):
    settings.ALLOWED_HOSTS, settings.SECURE_SSL_REDIRECT, settings.METRICS_TOKEN = ["tally.example.com"], True, TOKEN
    assert status(Authorization=f"Bearer {TOKEN}", Host="10.1.2.3:8000") == 200


def test_an_unknown_part_is_refused(client, settings):
    settings.METRICS_TOKEN = TOKEN
    answer = client.get("/metrics?part=nonsense", headers={"Authorization": f"Bearer {TOKEN}"})
    assert (answer.status_code, answer.content) == (400, b"`part` is `site` or `machine`.\n")


def test_a_refusal_says_what_is_missing_and_is_kept_by_nobody(client, settings):
    settings.METRICS_TOKEN, settings.METRICS_NETWORKS = TOKEN, ()
    answer = client.get("/metrics")
    assert (answer.status_code, answer["WWW-Authenticate"]) == (401, 'Bearer realm="metrics"')
    assert "no-store" in answer["Cache-Control"]
    assert client.post("/metrics").status_code == 405
