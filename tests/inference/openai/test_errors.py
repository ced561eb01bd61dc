"""What the official OpenAI client raises, and that nothing refused is ever held or charged."""

import json

import openai
import pytest
from kombu.exceptions import OperationalError

from billing.models import Hold
from inference.catalogue import DEMO_KEY
from inference.generations import requesting
from inference.models import CatalogueModel, Generation

pytestmark = pytest.mark.django_db(transaction=True)

HELLO = [{"role": "user", "content": "Hello"}]


def ask(client, **fields):
    return client.chat.completions.create(**({"model": DEMO_KEY, "messages": HELLO} | fields))


def nothing_was_made():
    assert Generation.objects.count() == Hold.objects.count() == 0


def error_of(raised):
    """The error's own members; OpenAI's clients show them as attributes too."""
    error = raised.value
    assert set(error.body) == {"message", "type", "param", "code"}
    return error.code, error.param


@pytest.mark.parametrize("key", ["tly_wrong", "sk-abc", "tly_0123456789_" + 43 * "0"])
def test_a_wrong_key_is_an_authentication_error(client_of, alice, key):
    with pytest.raises(openai.AuthenticationError) as raised:
        ask(client_of(alice, api_key=key))
    assert error_of(raised) == ("invalid_api_key", None)
    assert raised.value.response.headers["WWW-Authenticate"].startswith("Bearer")
    nothing_was_made()


def test_no_key_and_a_suspended_user_are_authentication_errors(server, client_of, alice, http):
    client = client_of(alice)
    assert http.get("/v1/models", headers={"Authorization": ""}).status_code == 401
    alice.is_active = False
    alice.save()
    with pytest.raises(openai.AuthenticationError):
        client.models.list()


def test_a_key_without_the_scope_is_refused(client_of, alice, key_of):
    with pytest.raises(openai.PermissionDeniedError) as raised:
        ask(client_of(alice, api_key=key_of(alice, "usage:read")))
    assert error_of(raised) == ("scope_missing", None)
    nothing_was_made()


def test_whoever_is_refused_counts_by_address(http, key_of, alice, settings, one_minute):
    settings.API_ADDRESS_REQUESTS_PER_MINUTE = 3
    scopeless, good = key_of(alice, "usage:read"), key_of(alice)

    def status(text):
        return http.get("/v1/models", headers={"Authorization": text}).status_code

    refused = [status(f"Bearer {scopeless}"), status("Bearer tly_wrong"), status(""), status("Bearer tly_wrong")]
    assert refused == [403, 401, 401, 429]
    assert (status(f"Bearer {scopeless}"), status(f"Bearer {good}")) == (429, 200)


@pytest.mark.parametrize("model", ["gpt-99", "", "x" * 5000, "nul\x00", "\ud83d"])
def test_an_unknown_model_is_not_found(ai, http, model):
    if model.isprintable():
        with pytest.raises(openai.NotFoundError) as raised:
            ask(ai, model=model)
        assert error_of(raised) == ("model_not_found", "model")
    else:
        body = json.dumps({"model": model, "messages": HELLO})  # the client itself refuses half a character
        assert http.post("/v1/chat/completions", content=body).status_code == 404
    nothing_was_made()


def test_models_that_are_unknown_or_not_offered_are_not_found(ai):
    CatalogueModel.objects.filter(key="gemma-3-1b").update(is_active=False)
    for key in ("gpt-99", "google/gemma-3-1b-it", "gemma-3-1b"):
        with pytest.raises(openai.NotFoundError):
            ai.models.retrieve(key)


def test_a_model_that_is_not_here_is_not_offered(ai):
    with pytest.raises(openai.InternalServerError) as raised:
        ask(ai, model="gemma-3-12b")
    assert raised.value.status_code == 503
    assert error_of(raised) == ("model_unavailable", "model")
    assert "not offered here at the moment" in str(raised.value)
    nothing_was_made()


def test_used_up_tokens_are_a_rate_limit_and_the_client_may_try_again(client_of, alice, settings):
    settings.API_KEY_TOKENS_PER_MINUTE = 0
    with pytest.raises(openai.RateLimitError) as raised:
        ask(client_of(alice, max_retries=0))
    assert error_of(raised) == ("rate_limit_exceeded", None)
    assert int(raised.value.response.headers["retry-after"]) >= 1
    nothing_was_made()


def test_a_broke_customer_has_no_quota_and_the_client_does_not_try_again(client_of, bob):
    with pytest.raises(openai.RateLimitError) as raised:
        ask(client_of(bob, max_retries=5))
    assert error_of(raised) == ("insufficient_quota", None)
    assert raised.value.type == "insufficient_quota"
    assert "0.00 credits free" in str(raised.value)
    assert raised.value.response.request.headers["x-stainless-retry-count"] == "0"
    nothing_was_made()


def test_too_many_requests_say_when_to_come_back(client_of, alice, settings):
    settings.API_KEY_REQUESTS_PER_MINUTE = 2
    client = client_of(alice)
    for _n in range(2):
        client.models.list()
    with pytest.raises(openai.RateLimitError) as raised:
        client.models.list()
    assert error_of(raised) == ("rate_limit_exceeded", None)
    headers = raised.value.response.headers
    assert 1 <= int(headers["Retry-After"]) <= 60
    assert headers["X-RateLimit-Remaining"] == "0"


def test_too_many_answers_at_once_are_refused(ai, engine, settings, faults):
    settings.MAX_LIVE_GENERATIONS = 1
    engine.step_seconds = 0.2
    running = ask(ai, stream=True)
    with pytest.raises(openai.RateLimitError) as raised:
        ask(ai)
    assert error_of(raised) == ("too_many_answers", None)
    assert raised.value.response.headers["retry-after"] == "1"
    list(running)
    ask(ai)
    assert faults() == []


def test_a_queue_that_is_down_costs_nothing(ai, monkeypatch, faults):
    def refuse(_model_key):
        raise OperationalError("Connection refused")

    monkeypatch.setattr(requesting, "send_ticket", refuse)
    with pytest.raises(openai.InternalServerError) as raised:
        ask(ai)
    assert (raised.value.status_code, raised.value.code) == (503, "service_unavailable")
    assert Hold.objects.get().state == "released"
    assert faults() == []


def test_an_answer_that_fails_costs_nothing_plain_and_streamed(ai, engine, paid, faults):
    engine.fails_at = 3
    with pytest.raises(openai.InternalServerError) as raised:
        ask(ai)
    assert (raised.value.status_code, raised.value.code) == (500, "generation_failed")
    with pytest.raises(openai.APIError) as broken_off:
        list(ask(ai, stream=True))
    assert broken_off.value.code == "generation_failed"
    assert "costs nothing" in str(raised.value)
    assert paid() == (0, 0)
    assert faults() == []


BAD = [
    ({"messages": []}, "messages", "empty_array"),
    ({"messages": None}, "messages", "missing_required_parameter"),
    ({"messages": "Hello"}, "messages", "invalid_type"),
    ({"messages": ["Hello"]}, "messages[0]", "invalid_type"),
    ({"messages": [{"content": "Hello"}]}, "messages[0].role", "missing_required_parameter"),
    ({"messages": [{"role": "narrator", "content": "x"}]}, "messages[0].role", "invalid_value"),
    ({"messages": [{"role": ["user"], "content": "x"}]}, "messages[0].role", "invalid_value"),
    ({"messages": [{"role": "user"}]}, "messages", "empty_prompt"),
    (
        {"messages": [{"role": "user", "content": []}, {"role": "assistant", "content": None}]},
        "messages",
        "empty_prompt",
    ),
    ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "invalid_type"),
    ({"messages": [{"role": "user", "content": " \n"}]}, "messages", "empty_prompt"),
    ({"messages": [{"role": "user", "content": [5]}]}, "messages[0].content[0]", "invalid_type"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text", "invalid_type"),
    ({"messages": [{"role": "user", "content": "x" * 200_001}]}, "messages[0].content", "string_above_max_length"),
    ({"messages": [{"role": "user", "content": "half \ud83d"}]}, "messages[0].content", "invalid_value"),
    ({"messages": HELLO * 1001}, "messages", "array_above_max_length"),
    ({"messages": [*HELLO, {"role": "assistant", "tool_calls": 1}]}, "messages[1].tool_calls", "invalid_type"),
    (
        {"messages": [{"role": "assistant", "content": "a", "tool_calls": [1]}]},
        "messages[0].tool_calls[0].function",
        "invalid_type",
    ),
    (
        {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]}]},
        "messages[0].tool_calls[0].function.arguments",
        "invalid_type",
    ),
    ({"messages": [{"role": "assistant", "content": "a", "audio": {"id": "x"}}]}, "messages[0].audio", None),
    ({"model": 5}, "model", "invalid_type"),
    ({"model": None}, "model", "missing_required_parameter"),
    ({"temperature": 2.1}, "temperature", "decimal_above_max_value"),
    ({"temperature": -0.1}, "temperature", "decimal_below_min_value"),
    ({"temperature": "hot"}, "temperature", "invalid_type"),
    ({"temperature": True}, "temperature", "invalid_type"),
    ({"temperature": float("nan")}, "temperature", "invalid_type"),
    ({"temperature": float("inf")}, "temperature", "decimal_above_max_value"),
    ({"top_p": -0.1}, "top_p", "decimal_below_min_value"),
    ({"top_p": 1.01}, "top_p", "decimal_above_max_value"),
    ({"top_k": 65}, "top_k", "integer_above_max_value"),
    ({"top_k": -2}, "top_k", "integer_below_min_value"),
    ({"top_k": 1.5}, "top_k", "invalid_type"),
    ({"min_p": 1}, "min_p", "decimal_above_max_value"),
    ({"min_p": -0.01}, "min_p", "decimal_below_min_value"),
    ({"min_p": "low"}, "min_p", "invalid_type"),
    ({"repetition_penalty": 0.5}, "repetition_penalty", "decimal_below_min_value"),
    ({"repetition_penalty": 2.01}, "repetition_penalty", "decimal_above_max_value"),
    ({"repetition_penalty": True}, "repetition_penalty", "invalid_type"),
    ({"max_tokens": 0}, "max_tokens", "integer_below_min_value"),
    ({"max_tokens": -2}, "max_tokens", "integer_below_min_value"),
    ({"max_tokens": 10**20}, "max_tokens", "integer_above_max_value"),
    ({"max_tokens": "10"}, "max_tokens", "invalid_type"),
    ({"max_tokens": 5, "max_completion_tokens": 6}, "max_completion_tokens", "invalid_value"),
    ({"seed": 2**63}, "seed", "integer_above_max_value"),
    ({"seed": 1.5}, "seed", "invalid_type"),
    ({"stop": ["x"] * 1000}, "stop", "array_above_max_length"),
    ({"stop": ["a", ""]}, "stop", "invalid_value"),
    ({"stop": ["x" * 201]}, "stop", "invalid_value"),
    ({"stop": [1]}, "stop", "invalid_type"),
    ({"stop": ["nul\x00"]}, "stop", "invalid_value"),
    ({"user": "x" * 201}, "user", "invalid_value"),
    ({"user": {"id": 1}}, "user", "invalid_type"),
    ({"stream": "yes"}, "stream", "invalid_type"),
    ({"stream_options": {"include_usage": True}}, "stream_options", "invalid_value"),
    ({"stream": True, "stream_options": 1}, "stream_options", "invalid_type"),
    ({"stream": True, "stream_options": {"include_usage": 1}}, "stream_options.include_usage", "invalid_type"),
    ({"n": 2}, "n", "unsupported_value"),
    ({"n": True}, "n", "unsupported_value"),
    ({"logprobs": 1}, "logprobs", "invalid_type"),
    ({"top_logprobs": 3}, "top_logprobs", "invalid_value"),
    ({"logprobs": False, "top_logprobs": 3}, "top_logprobs", "invalid_value"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "integer_above_max_value"),
    ({"logprobs": True, "top_logprobs": -1}, "top_logprobs", "integer_below_min_value"),
    ({"logprobs": True, "top_logprobs": True}, "top_logprobs", "invalid_type"),
    ({"tools": [{"type": "function"}]}, "tools", "unsupported_value"),
    ({"tools": [{"type": "function"}], "tool_choice": "auto"}, "tools", "unsupported_value"),
    ({"tools": [{"type": "function"}], "tool_choice": "required"}, "tool_choice", "unsupported_value"),
    ({"functions": [{"name": "f"}]}, "functions", "unsupported_value"),
    ({"response_format": {"type": "json_object"}}, "response_format", "unsupported_value"),
    ({"frequency_penalty": 2.1}, "frequency_penalty", "decimal_above_max_value"),
    ({"presence_penalty": -2.1}, "presence_penalty", "decimal_below_min_value"),
    ({"presence_penalty": "much"}, "presence_penalty", "invalid_type"),
    ({"logit_bias": {"50256": -100}}, "logit_bias", "unsupported_value"),
    ({"modalities": ["text", "audio"]}, "modalities", "unsupported_value"),
    ({"audio": {"voice": "x"}}, "audio", "unsupported_parameter"),
]


@pytest.mark.parametrize(("fields", "param", "code"), BAD)
def test_bad_requests_name_the_parameter_and_change_nothing(http, fields, param, code):
    body = {"model": DEMO_KEY, "messages": HELLO} | fields
    answer = http.post("/v1/chat/completions", content=json.dumps(body))
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["param"], error["type"]) == (param, "invalid_request_error")
    assert code in (error["code"], None)
    assert error["message"]
    nothing_was_made()


def test_images_are_refused_with_a_clear_error(ai):
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    with pytest.raises(openai.BadRequestError) as raised:
        ask(ai, messages=[{"role": "user", "content": [{"type": "text", "text": "What is it?"}, image]}])
    assert error_of(raised) == ("unsupported_content_type", "messages[0].content[1].type")
    assert "images" in str(raised.value)
    nothing_was_made()


def test_a_prompt_that_is_too_long_says_by_how_many_tokens(ai):
    with pytest.raises(openai.BadRequestError) as raised:
        ask(ai, messages=[{"role": "user", "content": "word " * 9000}])
    assert error_of(raised) == ("context_length_exceeded", "messages")
    assert "tokens too long" in str(raised.value)
    nothing_was_made()


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"prompt": ""}, "invalid_value"),
        ({"prompt": None}, "missing_required_parameter"),
        ({"prompt": 5}, "invalid_type"),
        ({"prompt": ["a", "b"]}, "unsupported_value"),
        ({"prompt": [1, 2, 3]}, "unsupported_value"),
        ({"prompt": "x" * 200_001}, "string_above_max_length"),
        ({"prompt": "x", "echo": True}, "unsupported_value"),
        ({"prompt": "x", "suffix": "y"}, "unsupported_value"),
        ({"prompt": "x", "best_of": 3}, "unsupported_value"),
        ({"prompt": "x", "logprobs": 6}, "integer_above_max_value"),
        ({"prompt": "x", "logprobs": True}, "invalid_type"),
        ({"prompt": "x", "logprobs": 2, "top_logprobs": 2}, "unsupported_parameter"),
    ],
)
def test_bad_completions_are_refused(http, fields, code):
    answer = http.post("/v1/completions", json={"model": DEMO_KEY} | fields)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
    nothing_was_made()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'"text"', b"null", b"\xff\xfe", b"[" * 100_000, b'{"seed": ' + b"9" * 5000]
)
def test_what_is_no_json_object_is_a_bad_request(http, content):
    answer = http.post("/v1/chat/completions", content=content)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_json")


@pytest.mark.parametrize("path", ["/v1/", "/v1/embeddings", "/v1/chat", "/v1/chat/completions/x"])
def test_unknown_paths_are_not_found_in_openais_way(http, path):
    answer = http.post(path, json={})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_url")


def test_other_methods_are_refused(http):
    reads, asks = "GET, HEAD, OPTIONS", "POST, OPTIONS"
    for path, allowed in (("/v1/models", reads), ("/v1/chat/completions", asks), ("/v1/completions", asks)):
        answer = http.request("DELETE", path)
        assert (answer.status_code, answer.headers["Allow"]) == (405, allowed)
        assert answer.json()["error"]["code"] == "method_not_allowed"


def test_a_body_that_is_too_large_is_refused(http):
    answer = http.post("/v1/chat/completions", content=b" " * 3_000_000)
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "body_too_large"


def test_an_unexpected_mistake_of_ours_is_told_as_one(ai, monkeypatch, caplog):
    def break_down(**_options):
        raise ZeroDivisionError

    monkeypatch.setattr("inference.openai.answers.begin_answer", break_down)
    with pytest.raises(openai.InternalServerError) as raised:
        ask(ai)
    assert error_of(raised) == ("internal_error", None)
    assert "ZeroDivisionError" in caplog.text
