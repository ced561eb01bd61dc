"""The documentation: valid, complete for every operation, and readable under the strict policy."""

import re
from uuid import UUID

import pytest
from django.urls import resolve
from drf_spectacular.drainage import reset_generator_stats
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema

from tests.api.test_who_may import methods_of, routes

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


def operations(document):
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
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
