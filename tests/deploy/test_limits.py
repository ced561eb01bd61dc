"""Limits of one address, which are above the application's own, and of bodies, which are the same."""

import gzip
import select
import socket
from contextlib import ExitStack

import pytest
from django.conf import settings

from tests.deploy.formats import FORMATS, HTML, OPENAI, PROBLEM, demand_error
from tests.support.nginx import needs_nginx

pytestmark = needs_nginx

MOST_BYTES = {
    HTML: settings.DATA_UPLOAD_MAX_MEMORY_SIZE,
    PROBLEM: settings.API_BODY_BYTES,
    OPENAI: settings.API_BODY_BYTES,
}
LOG_INS = ("/accounts/login/", "/accounts/signup/", "/accounts/password/reset/", "/admin/login/", "/api/v1/auth/token")


def ask(client, count, method="GET", path="/"):
    """The statuses of so many requests, one after the other."""
    return [client.request(method, path).status_code for _ in range(count)]


@pytest.mark.parametrize("path", FORMATS)
def test_a_body_that_is_too_large_is_refused_in_the_format_of_its_path(away, visit, path):
    most = MOST_BYTES[FORMATS[path]]
    demand_error(visit(away).post(path, content=b" " * (most + 1)), path, 413)
    assert visit(away).post(path, content=b" " * most).status_code == 503  # this would reach the application


def test_a_body_in_chunks_is_measured_too(away, visit):
    answer = visit(away).post("/v1/chat/completions", content=iter([b" " * 100_000] * 11))
    demand_error(answer, "/v1/chat/completions", 413)
    assert answer.headers["X-Should-Retry"] == "false"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", ["/api/v1/auth/token", "/v1/chat/completions"])
def test_the_application_reads_what_nginx_lets_pass(site, visit, path):
    head = {"Content-Type": "application/json"}
    whole = visit(site).post(path, content=b" " * settings.API_BODY_BYTES, headers=head)
    assert whole.status_code in (400, 401)
    packed = gzip.compress(b" " * (settings.API_BODY_BYTES + 1))
    inflated = visit(site).post(path, content=packed, headers=head | {"Content-Encoding": "gzip"})
    assert inflated.status_code == 413
    assert "inflated" in inflated.json()["detail"]  # the application's own words


def test_an_address_has_a_burst_of_240_requests(away):
    """A page with its tabs and a busy program are far from it."""
    options = ("--interface", "127.0.0.11", "--parallel", "--parallel-max", "100", "--write-out", "%{http_code}\n")
    statuses = away.curl("/[1-1200]", *options, "-o", "/dev/null").split()
    assert statuses.count("503") > 240
    assert statuses.count("429") > 0
    assert len(statuses) == 1200


def test_too_many_requests_are_refused_in_the_format_of_their_path(opened, visit):
    site = opened("127.0.0.1:1", changes={"rate=60r/s": "rate=1r/m", "burst=240": "burst=1"})
    client = visit(site)
    assert ask(client, 3) == [503, 503, 429]
    for path in FORMATS:
        answer = client.post(path)
        demand_error(answer, path, 429)
        assert answer.headers["Retry-After"] == "2"
        assert "othing was charged" in answer.text
    assert client.get("/static/missing.css").status_code == 404  # files are not counted
    assert visit(site, "127.0.0.12").get("/").status_code == 503  # nor is another address meant


@pytest.mark.parametrize("path", LOG_INS)
def test_log_ins_have_a_limit_of_their_own(away, visit, path):
    client = visit(away, f"127.0.0.{20 + LOG_INS.index(path)}")
    statuses = ask(client, 40, "POST", path)
    assert 429 not in statuses[:31]
    assert 429 in statuses[31:]
    assert set(ask(client, 5, "GET", path)) == {503}  # the form is still shown
    assert set(ask(client, 5, "POST", "/v1/chat/completions")) == {503}  # and who is logged in goes on


def test_one_address_has_so_many_requests_at_once(opened, silent):
    """Over http, where a webhook is passed on: the limit is the same."""
    site = opened(silent)
    request = b"POST /credits/webhooks/stripe/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
    with ExitStack() as stack:
        wires = []
        for _ in range(201):
            wires.append(stack.enter_context(socket.create_connection(("127.0.0.1", site.http_port))))
            wires[-1].sendall(request)
        refused = _first_answer(wires)
    assert refused.startswith(b"HTTP/1.1 429 ")


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_a_line_of_20_kb_in_the_head_passes_as_the_application_takes_it(site, version):
    told = (version, "--output", "/dev/null", "--write-out", "%{http_code}")
    assert site.curl("/healthz", *told, "--header", "X-Large: " + "x" * 20_000) == "200"
    assert site.curl("/healthz?x=" + "x" * 20_000, *told) == "200"


def test_a_head_that_is_too_large_is_refused(away, visit):
    assert visit(away).get("/", headers={"X-Large": "x" * 40_000}).status_code == 400


def test_a_network_of_ipv6_counts_as_one_client(opened, visit):
    """As in the application: a provider's customer has a /64, and would have a limit for each of its addresses.

    The addresses come from a proxy in front of nginx, as deploy/nginx/README.md tells to name one.
    """
    more = "set_real_ip_from 127.0.0.1; real_ip_header X-Forwarded-For; real_ip_recursive on;"
    client = visit(opened("127.0.0.1:1", more=more))

    def ask_from(address):
        return client.post("/accounts/login/", headers={"X-Forwarded-For": address}).status_code

    assert 429 in [ask_from(f"2001:db8:1:2::{number:x}") for number in range(50)]
    assert ask_from("2001:db8:1:3::1") == 503
    assert {ask_from(f"2001:db8:2:{number:x}::1") for number in range(50)} == {503}
    assert {ask_from(f"198.51.100.{number}") for number in range(50)} == {503}


def _first_answer(wires):
    """The bytes of the only one of these connections that gets an answer."""
    [ready], _, _ = select.select(wires, [], [], 10)
    return ready.recv(65_536)
