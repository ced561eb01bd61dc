"""Numbers beyond every bound, in every field that takes a number: the field is named, and nothing breaks."""

import copy
import json
import re
from uuid import uuid4

import pytest

from inference.catalogue import DEMO_KEY
from inference.models import Generation

pytestmark = pytest.mark.django_db(transaction=True)

HUGE = {
    "400 zeros": "1" + "0" * 400,
    "400 zeros below nothing": "-1" + "0" * 400,
    "more digits than Python reads": "9" * 5000,
    "a large exponent": "1e999",
    "a large exponent below nothing": "-1e999",
    "NaN": "NaN",
    "Infinity": "Infinity",
    "-Infinity": "-Infinity",
}
OF_CHAT = (
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "seed",
    "n",
    "frequency_penalty",
    "presence_penalty",
    "top_logprobs",
)
OF_TEXT = (*OF_CHAT[:1], *OF_CHAT[2:], "best_of", "logprobs")
MARK = "THE NUMBER"


def spell(body, number):
    """JSON with a number in the place of MARK that Python itself would not write."""
    return json.dumps(body).replace(f'"{MARK}"', number).encode()


def ask(http, path, body, number):
    return http.post(path, content=spell(body, number), headers={"Content-Type": "application/json"})


@pytest.mark.parametrize("number", HUGE.values(), ids=HUGE.keys())
@pytest.mark.parametrize("field", OF_CHAT)
def test_a_huge_number_in_a_chat_is_a_bad_request_that_names_the_field(http, field, number):
    body = {"model": DEMO_KEY, "messages": [{"role": "user", "content": "Hello"}], field: MARK}
    answer = ask(http, "/v1/chat/completions", body, number)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == field
    assert answer.json()["error"]["code"]
    assert Generation.objects.count() == 0


@pytest.mark.parametrize("number", HUGE.values(), ids=HUGE.keys())
@pytest.mark.parametrize("field", OF_TEXT)
def test_a_huge_number_in_a_completion_is_a_bad_request_that_names_the_field(http, field, number):
    body = {"model": DEMO_KEY, "prompt": "Hello", field: MARK}
    answer = ask(http, "/v1/completions", body, number)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, field)


@pytest.mark.parametrize("number", HUGE.values(), ids=HUGE.keys())
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"stream": True, "stream_options": {"include_usage": MARK}}, "stream_options.include_usage"),
        ({"messages": [{"role": "user", "content": MARK}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": MARK}]}]}, "messages[0].content[0].text"),
        ({"stop": [MARK]}, "stop"),
        ({"model": MARK}, "model"),
        ({"logit_bias": {"5": MARK}}, "logit_bias"),
        ({"cache": MARK}, "cache"),
    ],
)
def test_a_huge_number_where_none_belongs_is_a_bad_request_too(http, fields, param, number):
    body = {"model": DEMO_KEY, "messages": [{"role": "user", "content": "Hello"}]} | fields
    answer = ask(http, "/v1/chat/completions", body, number)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize("number", HUGE.values(), ids=HUGE.keys())
def test_a_huge_number_in_a_field_that_we_ignore_is_ignored(http, number):
    body = {"model": DEMO_KEY, "messages": [{"role": "user", "content": "Hello"}], "metadata": {"size": [MARK]}}
    assert ask(http, "/v1/chat/completions", body, number).status_code == 200


@pytest.mark.parametrize("number", HUGE.values(), ids=HUGE.keys())
def test_a_huge_number_on_a_page_is_no_crash(client, alice, number):
    client.force_login(alice)
    form = {"text": "Hello", "model": DEMO_KEY, "idempotency_key": uuid4(), "max_tokens": number}
    for path in ("/send/", "/estimate/", "/credits/top-ups/", "/credits/spending/cap/", f"/m/{number}/retry/"):
        fields = form | dict.fromkeys(("amount", "credits", "cap", "package"), number)
        assert client.post(path, fields, headers={"HX-Request": "true"}).status_code < 500, path
    for path in ("/credits/", "/credits/usage/", "/credits/export.csv"):
        asked = dict.fromkeys(("page", "days", "since", "until", "kind"), number)
        assert client.get(path, asked).status_code < 500, path


def number_fields(document):
    """Every operation with a body, its example, and the path to each number in the body's schema."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if content is None:
                continue
            for places in places_of(document, content["schema"]):
                yield method, path, content, places


def places_of(document, schema, seen=()):
    """Where a schema has numbers: tuples of names, and of 0 for the first of a list."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name not in seen:
            yield from places_of(document, document["components"]["schemas"][name], (*seen, name))
        return
    for way in ("oneOf", "anyOf", "allOf"):
        for each in schema.get(way, ()):
            yield from places_of(document, each, seen)
    kinds = schema.get("type", ())
    if {"integer", "number"} & {kinds} if isinstance(kinds, str) else {"integer", "number"} & set(kinds):
        yield ()
    for name, inner in schema.get("properties", {}).items():
        yield from ((name, *rest) for rest in places_of(document, inner, seen))
    if "items" in schema:
        yield from ((0, *rest) for rest in places_of(document, schema["items"], seen))


def put(body, place):
    """The body with MARK at that place, which is made where it is missing."""
    body = copy.deepcopy(body)
    at = body
    for name, following in zip(place, [*place[1:], None], strict=True):
        value = MARK if following is None else [] if following == 0 else {}
        if isinstance(at, list):
            at[:] = [at[0] if at and following is not None else value]
            at = at[0]
        else:
            at[name] = value if following is None else at.get(name) or value
            at = at[name]
    return body


def test_the_rest_api_names_the_field_of_a_huge_number(login, staff):
    client = login(staff)
    document = client.get("/api/v1/schema/").json()
    tried = 0
    for method, path, content, place in number_fields(document):
        if not path.startswith("/api/v1/"):  # OpenAI's API says it in its own shape, and has tests of its own
            continue
        example = content.get("example") or next((each["value"] for each in content.get("examples", {}).values()), {})
        url = re.sub(r"{\w*_?id}", "1", path)
        for title, number in HUGE.items():
            body = spell(put(example, place), number)
            key = {"HTTP_IDEMPOTENCY_KEY": f"key-{tried}"}
            answer = client.generic(method.upper(), url, body, content_type="application/json", **key)
            assert 400 <= answer.status_code < 500, (method, path, place, title)
            if answer.status_code == 400 and not number.endswith(("NaN", "Infinity")):
                assert ".".join(map(str, place)) in answer.json()["errors"], (method, path, place, title, answer.json())
            assert answer.json()["code"]
            tried += 1
    assert tried > 50


@pytest.mark.parametrize("number", HUGE.values(), ids=HUGE.keys())
def test_a_huge_number_in_a_query_or_a_path_is_refused(login, staff, number):
    client = login(staff)
    document = client.get("/api/v1/schema/").json()
    tried = 0
    for path, item in document["paths"].items():
        if "get" not in item:
            continue
        url = re.sub(r"{\w+}", number, path)
        if url != path:
            assert client.get(url).status_code == 404, url
        for parameter in item["get"].get("parameters", []):
            if parameter["in"] == "query" and parameter["schema"].get("type") in ("integer", "number"):
                answer = client.get(url, {parameter["name"]: number})
                assert 400 <= answer.status_code < 500, (url, parameter["name"])
                tried += 1
    assert tried >= 10
