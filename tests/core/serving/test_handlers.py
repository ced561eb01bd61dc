"""What is served by which handler, on a real server: the API's coroutines pass none of the pages' middleware."""

import asyncio
import threading

import httpx
import pytest
from asgiref.sync import SyncToAsync, sync_to_async
from django.http import HttpResponse

from core.serving.handlers import PagesHandler
from tests.support.asgi import serve

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def url():
    with serve() as address:
        yield address


def test_a_coroutine_has_the_headers_of_the_api_and_of_security(url):
    answer = httpx.get(f"{url}/v1/models")
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "same-origin"
    assert int(answer.headers["Content-Length"]) == len(answer.content)
    assert answer.headers["X-Request-Id"]
    assert "Set-Cookie" not in answer.headers
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"


def test_an_unknown_path_of_openais_api_is_json(url):
    answer = httpx.post(f"{url}/v1/audio/speech", json={})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_url")


def test_a_body_that_is_too_large_is_refused_before_it_is_looked_at(url, settings):
    answer = httpx.post(f"{url}/v1/chat/completions", content=b"x" * (settings.API_BODY_BYTES + 1))
    assert answer.status_code == 413


def test_pages_keep_their_policy(url):
    answer = httpx.get(f"{url}/accounts/login/")
    assert answer.status_code == 200
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/accounts/login/", 200),
        ("/static/tally.css", 200),
        ("/nowhere", 404),
        ("/send/", 405),
        ("/credits/webhooks/stripe/", 405),
        ("/v1/models", 401),
        ("/v1/nowhere", 404),
        ("/api/v1/models", 401),
        ("/api/v1/nowhere", 404),
    ],
)
@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")  # WhiteNoise's files, as in config.asgi
def test_every_answer_closes_what_no_page_needs(url, path, status):
    answer = httpx.get(f"{url}{path}")
    assert answer.status_code == status
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    for feature in ("camera", "microphone", "geolocation", "payment"):
        assert f"{feature}=()" in answer.headers["Permissions-Policy"]
    assert "publickey-credentials-get=(self)" in answer.headers["Permissions-Policy"]
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    for name in ("Content-Security-Policy", "Permissions-Policy", "Cross-Origin-Resource-Policy"):
        assert len(answer.headers.get_list(name)) == 1


def test_a_refusal_that_no_view_has_seen_has_them_too(url, settings):
    settings.ALLOWED_HOSTS = ["tally.example"]
    for path in ("/", "/v1/models", "/api/v1/models"):
        answer = httpx.get(f"{url}{path}", headers={"Host": "evil.example"})
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"], path
        assert "Permissions-Policy" in answer.headers


@pytest.mark.parametrize("path", ["/accounts/login/", "/api/v1/models"])
def test_the_middleware_of_a_page_goes_to_one_thread_once(url, path, monkeypatch):
    hops = []
    call = SyncToAsync.__call__

    async def count(self, *args, **options):
        hops.append(self.func)
        return await call(self, *args, **options)

    httpx.get(f"{url}{path}")  # the first request loads the views
    monkeypatch.setattr(SyncToAsync, "__call__", count)
    httpx.get(f"{url}{path}")
    assert 1 <= len(hops) <= 5  # the chain, and what Django does around it: signals, closing, a line in the log


def test_plain_http_is_redirected_where_the_site_wants_tls(url, monkeypatch):
    from core.serving import handlers

    monkeypatch.setattr(handlers._security, "redirect", True)
    answer = httpx.get(f"{url}/v1/models")
    assert (answer.status_code, answer.headers["Location"]) == (301, f"{url.replace('http', 'https')}/v1/models")


async def test_the_answer_to_somebody_who_has_left_is_closed(rf, monkeypatch):
    begun, may_end, closed = threading.Event(), threading.Event(), threading.Event()

    def answer_slowly(_request):
        begun.set()
        may_end.wait(10)
        response = HttpResponse("a page")
        monkeypatch.setattr(response, "close", closed.set)
        return response

    handler = PagesHandler()
    handler._middleware_chain = sync_to_async(answer_slowly, thread_sensitive=True)
    answering = asyncio.create_task(handler.run_get_response(rf.get("/")))
    await asyncio.to_thread(begun.wait, 10)
    answering.cancel()
    await asyncio.sleep(0.05)
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await answering
    assert closed.is_set()
