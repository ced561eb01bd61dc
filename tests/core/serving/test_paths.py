"""Addresses as clients put them together: each works, or is answered with JSON that names the right one."""

import httpx
import pytest

from tests.support.asgi import serve

pytestmark = pytest.mark.django_db(transaction=True)

ASKED = {"model": "no-such-model", "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture(scope="module")
def url():
    with serve() as address:
        yield address


@pytest.fixture
def http(url, alice):
    from accounts import api_keys

    text = api_keys.create_key(user=alice, name="test", scopes=["chat", "billing:read"])[1]
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {text}"}) as client:
        yield client


def ask(client, method, path, **options):
    """Ask for exactly this path: the client would tidy it."""
    raw = httpx.URL(client.base_url, raw_path=path.encode())
    return client.send(client.build_request(method, raw, **options))


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions",
        "/v1/chat/completions/",
        "//v1/chat/completions",
        "/v1//chat//completions//",
        "/v1/v1/chat/completions",
        "/v1/v1/v1/chat/completions/",
        "/V1/chat/completions",
        "/chat/completions",
        "//chat/completions/",
        "/v1/completions/",
        "/completions",
    ],
)
def test_a_question_arrives_however_its_address_is_written(http, path):
    body = ASKED | {"prompt": "Hello"}
    answer = ask(http, "POST", path, json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/", "//v1/models", "/v1/v1/models", "/V1/models", "/models"])
def test_the_list_of_models_arrives_too(http, path):
    answer = ask(http, "GET", path)
    assert (answer.status_code, answer.json()["object"]) == (200, "list")


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "HEAD"])
@pytest.mark.parametrize(
    "path",
    [
        "/v1",
        "/v1/",
        "//v1",
        "/V1",
        "/v1/v1",
        "/v1/embeddings",
        "/v1/chat",
        "/v1/chat/completions/x",
        "/openai/deployments/gemma/chat/completions",
        "/api/v1/chat/completions",
        "/engines/gemma/chat/completions/",
    ],
)
def test_what_is_no_path_is_told_the_right_one_in_openais_way(http, method, path):
    answer = ask(http, method, path)
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/json"
    if method != "HEAD":
        assert answer.json()["error"]["code"] == "unknown_url"
        assert "/v1/chat/completions" in answer.json()["error"]["message"]


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
@pytest.mark.parametrize("path", ["/api/v1", "//api/v1/nothing", "/api/v1/nothing/", "/API/v1"])
def test_the_rest_api_answers_with_a_problem(http, method, path):
    answer = ask(http, method, path)
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/api/v1/wallet/", "//api/v1/wallet", "/api//v1//wallet", "/API/V1/wallet"])
def test_a_path_of_the_rest_api_arrives_however_it_is_written(http, path):
    answer = ask(http, "GET", path)
    assert (answer.status_code, answer.json()["balance_microcredits"]) == (200, 100_000_000)


@pytest.mark.parametrize("path", ["/api/v1/docs", "/api/v1/docs/", "/api/v1/schema", "/api/v1/redoc"])
def test_the_documentation_needs_no_slash(http, path):
    assert ask(http, "GET", path).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models",
        "/v1/models/gemma-3-270m",
        "/api/v1/wallet",
        "/api/v1/ledger-entries",
        "/api/v1/schema/",
        "/healthz",
    ],
)
def test_head_is_answered_as_get_and_without_a_body(http, path):
    got, headed = ask(http, "GET", path), ask(http, "HEAD", path)
    assert got.status_code == headed.status_code == 200
    assert headed.content == b""
    assert headed.headers["Content-Type"] == got.headers["Content-Type"]
    assert headed.headers["Content-Length"] == str(len(got.content))


def test_head_of_files_is_answered_too(client, alice):
    client.force_login(alice)
    for path in ("/credits/export.csv", "/credits/export.json"):
        assert (client.get(path).status_code, client.head(path).status_code) == (200, 200)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/models", "GET, HEAD, OPTIONS"),
        ("/v1/models/gemma-3-270m", "GET, HEAD, OPTIONS"),
        ("/v1/chat/completions", "POST, OPTIONS"),
        ("/v1/completions", "POST, OPTIONS"),
        ("/api/v1/wallet", "GET, HEAD, OPTIONS"),
    ],
)
def test_options_and_refused_methods_say_what_is_allowed(http, path, allowed):
    asked = ask(http, "OPTIONS", path)
    assert asked.status_code in (200, 204)
    refused = ask(http, "DELETE", path)
    assert refused.status_code == 405
    for answer in (asked, refused):
        assert set(answer.headers["Allow"].split(", ")) == set(allowed.split(", "))
