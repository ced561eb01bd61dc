"""The documentation: valid, complete for every operation, and readable under the strict policy."""

import re
from uuid import UUID

import pytest
from django.urls import resolve
from drf_spectacular.drainage import reset_generator_stats
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema

from tests.api.routes import methods_of, routes

PUBLIC = {
    ("post", f"/api/v1/auth/{name}")
    for name in (
        "register",
        "token",
        "token/refresh",
        "token/verify",
        "password/reset",
        "password/reset/confirm",
        "verify-email",
        "verify-email/resend",
    )
}
METHODS = ("get", "post", "put", "patch", "delete")
UUIDS = {"adjustment_id", "conversation_id", "generation_id", "hold_id", "refund_id", "session_id", "topup_id"}
PAGES = {"schema", "docs", "redoc", "unknown"}  # the documentation itself, and what there is not


@pytest.fixture
def document(client, db):
    return client.get("/api/v1/schema/").json()


def path_of(template):
    """A path that the resolver knows, for one of the documentation."""
    return re.sub(r"{(\w+)}", lambda part: str(UUID(int=1)) if part[1] in UUIDS else "1", template)


def operations(document, under="/api/v1/"):
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item and path.startswith(under):
                yield method, path, item[method]


def test_the_schema_is_valid_openapi_and_made_without_a_warning(document, capsys):
    validate_schema(document)
    reset_generator_stats()
    SchemaGenerator().get_schema(request=None, public=True)
    assert capsys.readouterr().err == ""


def test_every_method_of_every_path_is_documented(document):
    there = {(method, route.name) for route in routes() for method in methods_of(route)}
    there -= {(method, name) for method, name in there if name in PAGES}
    documented = {(method, resolve(path_of(path)).url_name) for method, path, _found in operations(document)}
    assert documented == there
    assert len(list(operations(document))) == len(there) >= 50


def test_every_operation_is_described_with_examples_errors_and_security(document):
    wrong = []
    for method, path, found in operations(document):
        success = {status: answer for status, answer in found["responses"].items() if status.startswith("2")}
        errors = {status: answer for status, answer in found["responses"].items() if status.startswith("4")}
        examples = [media for answer in success.values() for media in answer.get("content", {}).values()]
        checks = {
            "a summary": found.get("summary"),
            "a description": len(found.get("description", "")) > 20,
            "one tag": len(found.get("tags", [])) == 1,
            "a success": len(success) == 1,
            "an example of the answer": all(media.get("examples") for media in examples)
            and (examples or set(success) <= {"204", "205", "202"}),
            "an example of the body": "requestBody" not in found
            or all(media.get("examples") for media in found["requestBody"]["content"].values()),
            "documented errors": "429" in errors and (found["security"] == [] or {"401", "403"} <= set(errors)),
            "404 for what it looks up": "{" not in path or "404" in errors,
            "400 for its body": "requestBody" not in found or {"400", "413", "415"} <= set(errors),
            "examples of its errors": all(
                media["examples"] for answer in errors.values() for media in answer["content"].values()
            ),
            "security that exists": all(
                name in document["components"]["securitySchemes"] for entry in found["security"] for name in entry
            ),
            "security": bool(found["security"]) != ((method, path) in PUBLIC),
        }
        wrong += [f"{method} {path} lacks {what}" for what, holds in checks.items() if not holds]
    assert wrong == []


def test_every_integer_that_may_be_beyond_32_bits_says_so(document):
    balance = document["components"]["schemas"]["WalletOut"]["properties"]["balance_microcredits"]
    assert (balance["type"], balance["format"]) == ("integer", "int64")
    short, pending = [], [document["paths"], document["components"]["schemas"]]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            if node.get("type") == "integer" and node.get("format") != "int64" and node.get("maximum", 2**31) >= 2**31:
                short.append(node)
            pending.extend(value for name, value in node.items() if name not in ("example", "examples"))
        elif isinstance(node, list):
            pending.extend(node)
    assert short == []


def test_generators_of_clients_find_where_it_is_and_names_they_take(document, settings):
    assert document["servers"] == [{"url": settings.PUBLIC_URL}]
    names = [found["operationId"] for _method, _path, found in operations(document, under="/")]
    assert len(names) == len(set(names))
    assert [name for name in names if not re.fullmatch(r"[a-z][a-z0-9_]*", name)] == []


def test_openais_paths_are_documented_as_they_are(document):
    documented = {(method, path) for method, path, _found in operations(document, under="/v1/")}
    assert documented == {
        ("get", "/v1/models"),
        ("get", "/v1/models/{key}"),
        ("post", "/v1/chat/completions"),
        ("post", "/v1/completions"),
    }
    assert {resolve(path.format(key="x")).url_name for _method, path in documented} == {
        "models",
        "model",
        "chat_completions",
        "completions",
    }
