"""What the application and the client learn of each other through nginx, and what nginx adds of its own."""

import re
import subprocess

import httpx
import pytest

from tests.support.nginx import needs_nginx
from tests.support.stack import wait_until

pytestmark = [needs_nginx, pytest.mark.django_db(transaction=True)]

WRONG = {"email": "alice@example.com", "password": "wrong"}
FORGED = {
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Port": "1",
    "X-Real-IP": "198.51.100.1",
    "Forwarded": "for=198.51.100.1;host=evil.example",
}
OF_EVERY_PAGE = (
    "strict-transport-security",
    "content-security-policy",
    "x-content-type-options",
    "x-frame-options",
    "referrer-policy",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "permissions-policy",
    "server",
    "content-type",
)


def guess(client, count, **headers):
    return [client.post("/api/v1/auth/token", json=WRONG, headers=headers).status_code for _ in range(count)]


def test_who_forges_addresses_is_locked_out_by_the_real_one(site, visit, alice):
    guesser = visit(site, "127.0.0.31")
    statuses = []
    for number in range(22):
        forged = {"X-Forwarded-For": f"198.51.100.{number}", "Forwarded": f"for=198.51.100.{number}"}
        body = {"email": f"nobody{number}@example.com", "password": "wrong"}
        statuses.append(guesser.post("/api/v1/auth/token", json=body, headers=forged).status_code)
    assert statuses[:20] == [401] * 20
    assert statuses[-1] == 429  # LOGIN in core/rest/throttles.py: 20 a minute of one address
    assert guess(visit(site, "127.0.0.32"), 1) == [401]


def test_forged_headers_of_proxies_do_not_arrive(site, visit):
    answer = visit(site).get("/admin/", headers=FORGED)
    assert answer.status_code == 302  # https was believed: over http it would be 301 to https
    assert answer.headers["Location"].startswith("/admin/login/")
    page = visit(site).get("/accounts/login/", headers=FORGED)
    assert page.status_code == 200
    assert "evil.example" not in page.text


@pytest.mark.parametrize("path", ["/accounts/login/", "/no/such/page/"])
def test_the_headers_of_a_page_come_once_each(site, path):
    head = site.curl(path, "--head", "--http2").lower()
    assert head.startswith("http/2 ")
    names = re.findall(r"^([\w-]+):", head, re.MULTILINE)
    assert {name: names.count(name) for name in OF_EVERY_PAGE} == dict.fromkeys(OF_EVERY_PAGE, 1)
    assert "\nserver: nginx\n" in head  # and not which


def test_the_headers_of_the_apis_come_once_each(site):
    for path in ("/api/v1/me", "/v1/models"):
        names = re.findall(r"^([\w-]+):", site.curl(path, "--head").lower(), re.MULTILINE)
        for name in ("content-security-policy", "x-content-type-options", "x-request-id", "cache-control"):
            assert names.count(name) == 1, (path, name)


def test_cookies_bind_to_this_host_over_https(site, visit):
    cookies = visit(site).get("/accounts/login/").headers.get_list("Set-Cookie")
    assert cookies
    for cookie in cookies:
        assert cookie.startswith("__Host-")
        assert "Secure" in cookie


def test_a_request_keeps_the_id_that_its_client_gave_it(site, visit):
    client = visit(site)
    assert client.get("/v1/models", headers={"X-Request-Id": "mine-1"}).headers["X-Request-Id"] == "mine-1"
    made = client.get("/v1/models", headers={"X-Request-Id": "not (mine)"}).headers["X-Request-Id"]
    assert re.fullmatch("[0-9a-f]{32}", made)
    wait_until(lambda: made in site.log(), 5, "the log of the second request")
    assert "mine-1\n" in site.log()


def test_the_access_log_has_no_searches_and_no_links_that_log_in(site, visit):
    client = visit(site)
    client.get("/accounts/open/opensesame/")
    client.get("/accounts/password/reset/key/1-opensesame/")
    client.get("/accounts/confirm-email/opensesame/")
    client.get("/?q=my%20secret")
    client.get("/accounts/login/?next=opensesame")
    wait_until(lambda: '"GET /accounts/login/ HTTP/1.1"' in site.log(), 5, "the log of the last request")
    log = site.log()
    assert '"GET /accounts/open/... HTTP/1.1"' in log
    assert '"GET / HTTP/1.1"' in log
    assert "opensesame" not in log
    assert "secret" not in log


@pytest.mark.parametrize("path", ["/", "/v1/models?limit=1", "/accounts/login/"])
def test_http_leads_to_https(site, path):
    answer = httpx.get(site.plain_url + path)
    assert answer.status_code == 308
    assert answer.headers["Location"] == site.url + path
    assert httpx.post(site.plain_url + path).status_code == 308


def test_an_event_of_stripe_over_http_reaches_the_application(site):
    """Without a provider of that name it knows no such path; a redirect would have lost the event."""
    answer = httpx.post(f"{site.plain_url}/credits/webhooks/stripe/", json={})
    assert answer.status_code not in (301, 308, 503)
    assert "permissions-policy" in answer.headers  # the application's own


def test_a_challenge_of_an_acme_authority_is_served_over_http(site):
    (site.directory / "acme/.well-known/acme-challenge/token-1").write_text("token-1.thumbprint")
    answer = httpx.get(f"{site.plain_url}/.well-known/acme-challenge/token-1")
    assert (answer.status_code, answer.text) == (200, "token-1.thumbprint")
    assert httpx.get(f"{site.plain_url}/.well-known/acme-challenge/other").status_code == 404


def test_other_names_get_nothing_but_the_health_check(site):
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(site.plain_url, headers={"Host": "evil.example"})
    assert httpx.get(f"http://127.0.0.1:{site.http_port}/healthz").json() == {"status": "ok"}
    status = site.curl("/", "--header", "Host: evil.example", "-o", "/dev/null", "-w", "%{http_code}")
    assert status == "421"
    there = ("--resolve", f"evil.example:{site.https_port}:127.0.0.1", "--insecure", "-w", "%{errormsg}")
    assert "unrecognized name" in site.curl(f"https://evil.example:{site.https_port}/", *there)


@pytest.mark.parametrize("path", ["/x/../admin/", "/./admin/", "/x/%2E%2e/admin/", "/x%2f..%2fadmin/", "/v1/.."])
def test_a_path_with_dots_is_refused(site, path):
    assert site.curl(path, "--path-as-is", "-o", "/dev/null", "-w", "%{http_code}") == "400"


def shake_hands(site, *options):
    """What OpenSSL's client says of a connection."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{site.https_port}", "-servername", "localhost", *options]
    done = subprocess.run(command, input=b"", capture_output=True, check=False, timeout=20)
    return (done.stdout + done.stderr).decode(errors="replace")


def test_tls_is_of_today(site):
    assert "Protocol  : TLSv1.2" in shake_hands(site, "-tls1_2")
    assert "New, TLSv1.3" in shake_hands(site, "-tls1_3")
    old = shake_hands(site, "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0")
    assert "alert protocol version" in old
    weak = shake_hands(site, "-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256")
    assert "alert handshake failure" in weak
    assert "TLS session ticket:" not in shake_hands(site, "-tls1_2")
    assert "ALPN protocol: h2" in shake_hands(site, "-alpn", "h2,http/1.1")
