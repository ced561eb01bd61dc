"""What is for operators alone: refused by network where operators.conf says so, and by the log-in everywhere."""

import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from django.conf import settings
from django.test import Client

from tests.deploy.formats import PROBLEM
from tests.support.nginx import free_port, needs_nginx
from tests.support.stack import wait_until

pytestmark = needs_nginx

OF_OPERATORS = (
    "/admin/",
    "/admin",
    "/admin/login/",
    "/%61dmin/",
    "//admin/",
    "/ops/",
    "/flower/",
    "/flower/api/workers",
    "/api/v1/admin/users",
    "/API/v1//admin/users",
)
OF_NOBODY = ("/metrics", "/metrics/", "/metrics?part=site", "//metrics", "/%6detrics", "/METRICS", "/Metrics/x")
PEOPLES = ("/", "/accounts/login/", "/api/v1/me", "/v1/models", "/administrator", "/flowers")
LOG_IN = ("operator@example.com", "a long password")
HERE, ELSEWHERE = "127.0.0.1", "127.0.0.2"


@pytest.fixture(scope="module")
def closed(opened):
    """nginx that lets operators in from one address, before an application that is away."""
    return opened("127.0.0.1:1", operators=f"allow {HERE};")


@pytest.mark.parametrize("path", OF_OPERATORS)
def test_strangers_are_refused_by_their_network(closed, visit, path):
    answer = visit(closed, ELSEWHERE).get(closed.url + path)
    assert answer.status_code == 403
    assert visit(closed, HERE).get(closed.url + path).status_code in (301, 503)  # it would reach the application
    if "admin/users" in path:
        assert answer.headers["Content-Type"].startswith(PROBLEM)
        assert answer.json()["code"] == "permission_denied"
    else:
        assert "for operators" in answer.text


@pytest.mark.parametrize("path", PEOPLES)
def test_customers_are_not_meant(closed, visit, path):
    assert visit(closed, ELSEWHERE).get(path).status_code == 503


@pytest.mark.parametrize("path", OF_NOBODY)
@pytest.mark.parametrize("address", [HERE, ELSEWHERE])
def test_nobody_reaches_the_metrics_by_the_proxy(closed, visit, path, address):
    """Not even with the token: Prometheus asks the application itself."""
    headers = {"Authorization": "Bearer whatever"}
    assert visit(closed, address).get(closed.url + path, headers=headers).status_code == 404


def test_a_forged_address_does_not_help(closed, visit):
    forged = {"X-Forwarded-For": HERE, "X-Real-IP": HERE, "Forwarded": f"for={HERE}"}
    assert visit(closed, ELSEWHERE).get("/admin/", headers=forged).status_code == 403


def test_without_any_line_everybody_is_refused(opened, visit):
    assert visit(opened("127.0.0.1:1", operators="# nobody")).get("/admin/").status_code == 403


@pytest.mark.django_db(transaction=True)
def test_as_it_comes_the_log_in_protects_them(site, visit):
    stranger = visit(site)
    assert stranger.get("/admin/").headers["Location"] == "/admin/login/?next=/admin/"
    assert stranger.get("/api/v1/admin/users").status_code == 401


@pytest.fixture(scope="module")
def flower(tmp_path_factory):
    """A real Flower, under the prefix that nginx passes on. Yields its host:port."""
    address = f"127.0.0.1:{free_port()}"
    variables = {
        "DJANGO_SETTINGS_MODULE": "config.settings.flower",
        "BROKER_REDIS_URL": settings.BROKER_REDIS_URL,
        "TRUSTED_PROXIES": HERE,
        "FLOWER_BASIC_AUTH": ":".join(LOG_IN),
    }
    command = [sys.executable, "-m", "celery", "-A", "config", "flower", "--conf=flowerconfig.py"]
    command += ["--address=127.0.0.1", f"--port={address.rpartition(':')[2]}", "--url_prefix=flower"]
    log = (tmp_path_factory.mktemp("flower") / "log").open("w")
    with log, subprocess.Popen(command, cwd=settings.BASE_DIR, env=os.environ | variables, stderr=log) as process:
        try:
            wait_until(lambda: _is_well(address), 30, "Flower to answer")
            yield address
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def web(_live):
    """The host:port of the application."""
    _live.start()
    return _live.url.removeprefix("http://")


@pytest.fixture(scope="module")
def site_with_flower(web, opened, flower):
    """nginx before the application and a real Flower."""
    return opened(web, flower=flower)


@pytest.fixture
def enter(server, site_with_flower, visit, staff):
    """Call it for a client from an address, with a session of staff that a second factor confirmed, or without one."""

    def make(address="127.0.0.1", *, is_confirmed=True):
        client, browser = visit(site_with_flower, address), Client()
        browser.force_login(staff)
        if not is_confirmed:
            session = browser.session
            del session["account_authentication_methods"]
            session.save()
        client.headers["Cookie"] = (
            f"{settings.SESSION_COOKIE_NAME}={browser.cookies[settings.SESSION_COOKIE_NAME].value}"
        )
        return client

    return make


@pytest.mark.django_db(transaction=True)
def test_strangers_and_sessions_by_password_alone_are_led_to_the_log_in(enter, visit, site_with_flower):
    for client in (visit(site_with_flower), enter(is_confirmed=False)):
        for path in ("/flower/", "/flower/workers", "/flower/api/workers", "/flower/static/css/flower.css"):
            answer = client.get(path, auth=LOG_IN)
            assert (answer.status_code, answer.headers["Location"]) == (302, "/ops/flower/")
        assert client.post("/flower/api/worker/shutdown/x", auth=LOG_IN, content=b"x" * 2000).status_code == 302
    assert visit(site_with_flower).get("/ops/flower/").headers["Location"].startswith("/accounts/login/")
    assert enter(is_confirmed=False).get("/ops/flower/").headers["Location"].startswith("/accounts/2fa/")


@pytest.mark.django_db(transaction=True)
def test_customers_are_refused(enter, visit, site_with_flower, alice):
    browser = Client()
    browser.force_login(alice)
    cookie = browser.cookies[settings.SESSION_COOKIE_NAME].value
    client = visit(site_with_flower, headers={"Cookie": f"{settings.SESSION_COOKIE_NAME}={cookie}"})
    answer = client.get("/flower/workers", auth=LOG_IN)
    assert answer.status_code == 403
    assert "for operators" in answer.text


def test_while_the_application_is_away_nobody_enters(flower, opened, visit):
    assert visit(opened("127.0.0.1:1", flower=flower)).get("/flower/workers", auth=LOG_IN).status_code == 503


def test_what_the_proxy_asks_cannot_be_asked_from_outside(closed, visit):
    assert visit(closed, HERE).get(closed.url + "/_tally_operator").status_code == 404


@pytest.mark.django_db(transaction=True)
def test_every_tab_of_flower_and_its_data_open_for_operators(enter):
    client = enter()
    api = ("api/workers", "api/queues/length", "api/tasks", "api/task/types")
    for path in ("", "workers", "workers?json=1", "tasks", "broker", *api):
        answer = client.get(f"/flower/{path}", auth=LOG_IN)
        assert answer.status_code == 200, path
    asked = {"draw": "1", "start": "0", "length": "10", "search[value]": "", "order[0][dir]": "asc"}
    asked |= {"order[0][column]": "0", "columns[0][data]": "name"}
    assert client.post("/flower/tasks/datatable", auth=LOG_IN, data=asked).json()["data"] == []


class _Echo(BaseHTTPRequestHandler):
    """Answers with the headers that it got."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(str(self.headers).encode())

    def log_message(self, *_words):
        pass


@pytest.mark.django_db(transaction=True)
def test_flower_is_not_shown_the_session(enter, opened, visit, web):
    with ThreadingHTTPServer((HERE, 0), _Echo) as echo:
        threading.Thread(target=echo.serve_forever, daemon=True).start()
        site = opened(web, flower=f"{HERE}:{echo.server_port}")
        cookie = enter().headers["Cookie"]
        got = visit(site).get("/flower/x", headers={"Cookie": cookie, "X-Real-IP": "1.2.3.4"}, auth=LOG_IN).text
        echo.shutdown()
    assert "Authorization: Basic" in got
    assert f"X-Forwarded-For: {HERE}" in got
    assert "Cookie" not in got
    assert "1.2.3.4" not in got


@pytest.mark.django_db(transaction=True)
def test_flower_is_behind_its_log_in_and_its_metrics_are_for_nobody(flower, enter):
    assert httpx.get(f"http://{flower}/flower/metrics").status_code == 200  # to whoever reaches Flower itself
    client = enter()
    for path in ("/flower/metrics", "/flower/healthcheck", "/flower//metrics", "/flower/%6detrics", "/flower/Metrics"):
        assert client.get(path).status_code == 404, path
        assert client.get(path, auth=LOG_IN).status_code == 404, path
    assert client.get("/flower/workers").status_code == 401
    page = client.get("/flower/workers", auth=LOG_IN)
    assert page.status_code == 200
    assert "/flower/static/" in page.text
    assert client.get("/flower/static/css/flower.css", auth=LOG_IN).status_code == 200
    for name in ("X-Frame-Options", "X-Content-Type-Options", "Referrer-Policy"):
        assert len(page.headers.get_list(name)) == 1


@pytest.mark.django_db(transaction=True)
def test_wrong_passwords_of_flower_are_counted_by_the_real_address(enter):
    guesser, wrong = enter("127.0.0.41"), ("operator@example.com", "wrong")
    headers = [{"X-Forwarded-For": f"198.51.100.{number}"} for number in range(8)]
    statuses = [guesser.get("/flower/workers", auth=wrong, headers=forged).status_code for forged in headers]
    assert statuses[:5] == [401] * 5
    assert 429 in statuses
    assert enter("127.0.0.42").get("/flower/workers", auth=LOG_IN).status_code == 200


def _is_well(address):
    try:
        return httpx.get(f"http://{address}/flower/healthcheck").status_code == 200
    except httpx.TransportError:
        return False
