"""How pages, `/api/` and `/v1/` say that something is wrong; nginx says it as the application does."""

import httpx

HTML, PROBLEM, OPENAI = "text/html", "application/problem+json", "application/json"
FORMATS = {
    "/": HTML,
    "/c/1b4e28ba-2fa1-11d2-883f-0016d3cca427/": HTML,
    "/api/v1/generations": PROBLEM,
    "/API/V1/generations": PROBLEM,
    "/v1/chat/completions": OPENAI,
    "/chat/completions": OPENAI,
}


def demand_error(answer: httpx.Response, path: str, status: int) -> None:
    """The answer is nginx's own, whole, in the format of the path."""
    assert answer.status_code == status
    assert answer.headers["Content-Type"].partition(";")[0] == FORMATS[path]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "uvicorn" not in str(answer.headers)
    if FORMATS[path] == PROBLEM:
        problem = answer.json()
        assert problem["status"] == status
        assert problem["type"] == f"urn:tally:problem:{problem['code']}"
        assert problem["request_id"] == answer.headers["X-Request-Id"]
        assert {"title", "detail", "action"} < problem.keys()
    elif FORMATS[path] == OPENAI:
        assert answer.json().keys() == {"error"}
        assert answer.json()["error"].keys() == {"message", "type", "param", "code"}
    else:
        assert answer.headers["X-Request-Id"] in answer.text
        assert "</html>" in answer.text
