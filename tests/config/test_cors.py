"""Pages of other origins call the APIs from a browser: those that are named, with a key, and never with a cookie."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from django.conf import settings as django_settings
from playwright.sync_api import Error, sync_playwright

from accounts import api_keys
from core.origins import is_origin
from tests.support.asgi import serve

pytestmark = pytest.mark.django_db(transaction=True)

APP, OTHER = "https://app.example.com", "https://evil.example.com"
STAINLESS = "authorization,content-type,idempotency-key,x-stainless-os,x-stainless-retry-count,x-stainless-new-thing"
PATHS = ["/v1/chat/completions", "/v1/models", "/v1/nothing", "/chat/completions", "/api/v1/wallet", "/api/v1/keys/1"]
EXPOSED = (
    "x-request-id",
    "retry-after",
    "x-should-retry",
    "etag",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-remaining-tokens",
    "openai-processing-ms",
)


@pytest.fixture(scope="module")
def url():
    with serve() as address:
        yield address


@pytest.fixture
def _app_is_allowed(settings):
    settings.CORS_ALLOWED_ORIGINS = [APP]


def preflight(url, path, origin=APP, method="POST"):
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": STAINLESS,
    }
    return httpx.options(f"{url}{path}", headers=headers)


def words(answer, name):
    return [word.strip().lower() for word in answer.headers[name].split(",")]


@pytest.mark.usefixtures("_app_is_allowed")
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
def test_a_preflight_is_answered_without_a_key(url, path, method):
    answer = preflight(url, path, method=method)
    assert answer.status_code in (200, 204)
    assert answer.headers["Access-Control-Allow-Origin"] == APP
    assert method.lower() in words(answer, "Access-Control-Allow-Methods")
    allowed = words(answer, "Access-Control-Allow-Headers")
    assert "*" in allowed  # any header, x-stainless-new-thing among them
    assert {"authorization", "content-type", "idempotency-key"} <= set(allowed)
    assert "origin" in words(answer, "Vary")
    assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.usefixtures("_app_is_allowed")
@pytest.mark.parametrize("path", PATHS)
def test_an_answer_may_be_read_by_the_page_and_so_may_its_headers(url, path):
    answer = httpx.get(f"{url}{path}", headers={"Origin": APP})
    assert answer.headers["Access-Control-Allow-Origin"] == APP
    assert set(EXPOSED) <= set(words(answer, "Access-Control-Expose-Headers"))
    assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.usefixtures("_app_is_allowed")
def test_a_refusal_of_the_body_may_be_read_too(url):
    headers = {"Origin": APP, "Content-Encoding": "br"}
    answer = httpx.post(f"{url}/v1/chat/completions", content=b"{}", headers=headers)
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (415, APP)


@pytest.mark.usefixtures("_app_is_allowed")
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("origin", [OTHER, "null", "https://app.example.com.evil.example", "http://app.example.com"])
def test_other_origins_get_nothing(url, path, origin):
    for answer in (preflight(url, path, origin), httpx.get(f"{url}{path}", headers={"Origin": origin})):
        assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize("path", PATHS)
def test_by_default_no_origin_is_allowed(url, path):
    assert django_settings.CORS_ORIGINS == []
    assert "Access-Control-Allow-Origin" not in preflight(url, path).headers


@pytest.mark.parametrize("path", PATHS)
def test_everybody_may_be_allowed_still_without_cookies(url, path, settings):
    settings.CORS_ALLOW_ALL_ORIGINS = True
    for answer in (preflight(url, path, OTHER), httpx.get(f"{url}{path}", headers={"Origin": OTHER})):
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "Access-Control-Allow-Credentials" not in answer.headers


ASK = """async ([url, key]) => {
    const headers = {
        Authorization: `Bearer ${key}`, "Content-Type": "application/json", "Idempotency-Key": "k-1",
        "X-Stainless-OS": "x", "x-stainless-new-thing": "y",
    };
    const body = JSON.stringify({model: "no-such-model", messages: [{role: "user", content: "Hello"}]});
    const answer = await fetch(url + "/v1/chat/completions", {method: "POST", headers, body});
    return [answer.status, answer.headers.get("X-RateLimit-Limit"), answer.headers.get("X-Request-Id")];
}"""


@contextmanager
def page_of_another_origin():
    """Serve an empty page on a free port: another port is another origin."""
    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def in_a_browser(origin, *asked):
    """What ASK gives there. In a thread of its own: Playwright runs an event loop, beside which Django asks nothing."""

    def ask():
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
            page = browser.new_page()
            page.goto(f"{origin}/")
            try:
                return page.evaluate(ASK, list(asked))
            except Error as error:
                return str(error)
            finally:
                browser.close()

    with ThreadPoolExecutor(1) as one:
        return one.submit(ask).result()


def test_a_real_browser_asks_and_reads_the_limits_or_is_kept_out(url, alice, settings, tmp_path, monkeypatch):
    key = api_keys.create_key(user=alice, name="page", scopes=["chat"])[1]
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_words: None)
    monkeypatch.chdir(tmp_path)
    with page_of_another_origin() as origin:
        assert "Failed to fetch" in in_a_browser(origin, url, key)
        settings.CORS_ALLOWED_ORIGINS = [origin]
        status, limit, request_id = in_a_browser(origin, url, key)
    assert (status, limit) == (404, str(settings.API_KEY_REQUESTS_PER_MINUTE))
    assert request_id


@pytest.mark.parametrize("path", ["/accounts/login/", "/", "/credits/", "/admin/login/", "/healthz"])
def test_pages_are_read_by_no_other_origin(url, path, settings):
    settings.CORS_ALLOW_ALL_ORIGINS = True
    assert "Access-Control-Allow-Origin" not in httpx.get(f"{url}{path}", headers={"Origin": APP}).headers


def test_a_cookie_logs_nobody_in_at_the_apis(client, alice, settings):
    settings.CORS_ALLOW_ALL_ORIGINS = True
    client.force_login(alice)
    assert client.get("/api/v1/wallet", headers={"Origin": APP}).status_code == 401


@pytest.mark.parametrize("text", ["*", "https://app.example.com", "http://localhost:3000", "https://[::1]:8443"])
def test_origins_are_known(text):
    assert is_origin(text)


@pytest.mark.parametrize(
    "text",
    [
        "https://app.example.com/",
        "app.example.com",
        "https://*.example.com",
        "https://a@example.com",
        "https://example.com:x",
        "ftp://example.com",
        "https://",
        "https://example.com?x",
        "null",
        "",
    ],
)
def test_what_is_no_origin_is_refused(text):
    assert not is_origin(text)


@pytest.mark.parametrize(
    ("origins", "status"), [("https://app.example.com,http://localhost:3000", 0), ("*", 0), ("https://a.example/", 1)]
)
def test_the_setting_is_read_and_checked_at_the_start(origins, status):
    script = (
        "import django; django.setup(); from django.conf import settings;"
        "print(settings.CORS_ALLOWED_ORIGINS, settings.CORS_ALLOW_ALL_ORIGINS)"
    )
    environment = os.environ | {"CORS_ORIGINS": origins, "DJANGO_SETTINGS_MODULE": "config.settings.test"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    if status:
        assert "CORS_ORIGINS: https://a.example/" in done.stderr
    else:
        allowed = [origin for origin in origins.split(",") if origin != "*"]
        assert done.stdout.strip() == f"{allowed} {origins == '*'}"
