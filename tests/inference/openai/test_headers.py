"""What comes in the head of OpenAI's answers: where the caller stands, how long it took, and whose answer it is."""

from tests.support.idempotency_keys import ASKED, GOOD


def test_openais_api_keeps_the_same_rule(http):
    for key in GOOD:
        first, again = (
            http.post("/v1/chat/completions", json=ASKED, headers={"Idempotency-Key": key}) for _ in range(2)
        )
        assert (first.json(), first.status_code) == (again.json(), 200)
        assert "Idempotent-Replayed" not in first.headers
        assert again.headers["Idempotent-Replayed"] == "true"
    for key in ("", "x" * 256):
        refused = http.post("/v1/chat/completions", json=ASKED, headers={"Idempotency-Key": key})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "Idempotency-Key")


def test_openais_answers_have_openais_headers(http):
    answer = http.post("/v1/chat/completions", json=ASKED)
    assert int(answer.headers["openai-processing-ms"]) >= 0
    for of in ("requests", "tokens"):
        limit, remaining = (int(answer.headers[f"x-ratelimit-{name}-{of}"]) for name in ("limit", "remaining"))
        assert 0 < remaining < limit
        assert 1 <= int(answer.headers[f"x-ratelimit-reset-{of}"].removesuffix("s")) <= 60
    with http.stream("POST", "/v1/chat/completions", json=ASKED | {"stream": True}) as streamed:
        assert streamed.headers["x-ratelimit-remaining-tokens"]
        streamed.read()
