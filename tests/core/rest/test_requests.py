"""What every request of the API has in common: problems, limits, pages, ETags, sizes."""

import pytest
import redis

from accounts.models import ApiKey


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("get", "/api/v1/nothing", 404, "not_found"),
        ("post", "/api/v1/", 404, "not_found"),
        ("delete", "/api/v1/me", 405, "method_not_allowed"),
        ("get", "/api/v1/keys/999", 404, "not_found"),
        ("get", "/api/v1/keys/99999999999999999999999", 404, "not_found"),
        ("get", "/api/v1/keys?limit=0", 400, "invalid"),
        ("get", "/api/v1/keys?limit=101", 400, "invalid"),
        ("get", "/api/v1/keys?limit=abc", 400, "invalid"),
        ("get", "/api/v1/keys?cursor=rubbish", 404, "not_found"),
        ("get", "/api/v1/keys?cursor=cD1hYmM=", 404, "not_found"),  # p=abc
        ("get", "/api/v1/keys?cursor=cD0lMDA=", 404, "not_found"),  # p=NUL
    ],
)
def test_every_refusal_is_a_problem(login, alice, method, path, status, code):
    answer = getattr(login(alice), method)(path)
    assert answer.status_code == status
    assert answer["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["code"] in (code, "invalid_request")
    assert problem["action"]
    assert problem["request_id"] == answer["X-Request-Id"]


@pytest.mark.parametrize("body", ["{", "[1]", '"text"', "null", "[" * 100_000, '{"name": NaN}', b"\xff\xfe"])
def test_a_body_that_is_no_object_is_a_400(login, alice, body):
    answer = login(alice).generic("POST", "/api/v1/keys", body, content_type="application/json")
    assert answer.status_code == 400


def test_a_body_of_another_type_is_a_415(login, alice):
    answer = login(alice).generic("POST", "/api/v1/keys", "<a/>", content_type="application/xml")
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


def test_a_body_that_is_too_large_is_refused_before_it_is_read(login, alice, settings):
    settings.API_BODY_BYTES = 100
    answer = login(alice).post("/api/v1/keys", {"name": "x" * 200, "scopes": ["chat"]})
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert ApiKey.objects.count() == 0


def test_a_crash_of_ours_is_a_problem_and_is_logged(login, alice, monkeypatch, caplog):
    client = login(alice)
    monkeypatch.setattr("accounts.api.account.MeOut", None)
    answer = client.get("/api/v1/me", HTTP_X_REQUEST_ID="find-me-1")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "NoneType" not in answer.content.decode()
    assert "find-me-1" in caplog.text


def test_a_request_id_is_taken_over_when_it_is_harmless(login, alice):
    client = login(alice)
    assert client.get("/api/v1/me", HTTP_X_REQUEST_ID="abc-1")["X-Request-Id"] == "abc-1"
    assert client.get("/api/v1/me", HTTP_X_REQUEST_ID="a b\r\nc")["X-Request-Id"] != "a b\r\nc"


def test_an_unchanged_read_is_a_304(login, alice):
    client = login(alice)
    first = client.get("/api/v1/me")
    assert client.get("/api/v1/me", HTTP_IF_NONE_MATCH=first["ETag"]).status_code == 304
    client.patch("/api/v1/me", {"first_name": "Alice"})
    assert client.get("/api/v1/me", HTTP_IF_NONE_MATCH=first["ETag"]).status_code == 200
    assert first["Cache-Control"] == "private, no-cache"
    assert "Authorization" in first["Vary"]


def test_requests_are_limited_by_key_and_by_user(with_key, login, alice, charlie, settings, one_minute):
    settings.API_KEY_REQUESTS_PER_MINUTE, settings.API_USER_REQUESTS_PER_MINUTE = 2, 4
    first, second = with_key(alice), with_key(alice)
    seen = [first.get("/api/v1/me") for _ in range(3)]
    assert [answer.status_code for answer in seen] == [200, 200, 429]
    assert [answer["X-RateLimit-Remaining"] for answer in seen] == ["1", "0", "0"]
    assert seen[0]["X-RateLimit-Limit"] == "2"
    assert 1 <= int(seen[2]["Retry-After"]) <= 60
    assert seen[2].json()["code"] == "rate_limited"
    assert second.get("/api/v1/me").status_code == 200
    assert second.get("/api/v1/me").status_code == 429  # the user's fifth
    assert login(charlie).get("/api/v1/me").status_code == 200


def test_without_redis_the_api_stays_open(login, alice, monkeypatch):
    dead = redis.Redis(port=1, socket_connect_timeout=0.2, retry=None)
    monkeypatch.setattr("core.rest.throttles._counters", lambda: dead)
    answer = login(alice).get("/api/v1/me")
    assert answer.status_code == 200
    assert "X-RateLimit-Limit" not in answer


def test_pages_follow_each_other_while_rows_are_added(login, with_key, alice):
    for _ in range(5):
        with_key(alice)
    client = login(alice)
    page = client.get("/api/v1/keys?limit=2").json()
    seen = [key["id"] for key in page["results"]]
    with_key(alice)
    while page["next"]:
        page = client.get(page["next"]).json()
        seen += [key["id"] for key in page["results"]]
    assert seen == sorted(seen, reverse=True)
    assert len(seen) == len(set(seen)) == 5
