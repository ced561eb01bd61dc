"""Checks answers against schemas of OpenAPI, strictly: a member that nobody documented is a mistake."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import date, datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from jsonschema import Draft4Validator, FormatChecker

Schema = dict[str, Any]
PREFIX = "#/components/schemas/"


def _is_moment(text: str) -> bool:
    return "T" in text and datetime.fromisoformat(text).tzinfo is not None


CHECKS: dict[str, tuple[type, Callable[[Any], Any]]] = {
    "int64": (int, lambda number: -(2**63) <= number < 2**63),
    "double": (float, lambda number: True),
    "date-time": (str, _is_moment),
    "date": (str, date.fromisoformat),
    "uuid": (str, UUID),
    "uri": (str, lambda text: all(urlsplit(text)[:2])),
    "email": (str, lambda text: "@" in text),
}


def _formats() -> FormatChecker:
    checker = FormatChecker(formats=())
    for name, (kind, check) in CHECKS.items():
        checker.checks(name, raises=ValueError)(
            lambda value, kind=kind, check=check: not isinstance(value, kind) or bool(check(value))
        )
    return checker


FORMATS = _formats()


def strict(node: Any) -> Any:
    """OpenAPI 3.0 in the words of JSON Schema's draft 4, which it is made of. Objects have the members they name."""
    if isinstance(node, list):
        return [strict(each) for each in node]
    if not isinstance(node, dict):
        return node
    found = {name: strict(value) for name, value in node.items()}
    if isinstance(found.get("format"), str):
        assert found["format"] in CHECKS, found
    if found.get("type") == "object":
        found.setdefault("additionalProperties", False)
    return {"anyOf": [{"type": "null"}, found]} if found.pop("nullable", None) is True else found


class Document:
    """Our documentation. It remembers the answers it was shown, to say which of its members none of them had."""

    def __init__(self, document: Schema) -> None:
        self.paths: Schema = document["paths"]
        self._schemas: Schema = document["components"]["schemas"]
        self._strict = strict(self._schemas)
        self._seen: dict[str, list[Any]] = defaultdict(list)

    def reads(self) -> list[str]:
        """The paths that are documented with GET."""
        return [path for path, item in self.paths.items() if "get" in item]

    def answer_of(self, path: str) -> tuple[str, Schema]:
        """The type and the schema of what GET answers there."""
        [(media_type, media)] = self.paths[path]["get"]["responses"]["200"]["content"].items()
        return media_type, media["schema"]

    def faults(self, schema: Schema, value: Any) -> list[str]:
        """What is wrong with a value."""
        self._note(schema, value)
        whole = strict(schema) | {"components": {"schemas": self._strict}}
        found = Draft4Validator(whole, format_checker=FORMATS).iter_errors(value)
        return [f"{error.json_path}: {error.message[:200]}" for error in found]

    def _note(self, schema: Schema, value: Any) -> None:
        if value is None:
            return None
        name = schema.get("$ref", "").removeprefix(PREFIX)
        if name:
            self._seen[name].append(value)
            return self._note(self._schemas[name], value)
        for part in schema.get("allOf", ()):
            self._note(part, value)
        if isinstance(value, list):
            for each in value:
                self._note(schema.get("items", {}), each)
        if isinstance(value, dict):
            for member, of_member in schema.get("properties", {}).items():
                self._note(of_member, value.get(member))
        return None

    def never_filled(self) -> Iterator[str]:
        """The members of the schemas noted that were null or empty in every value; pages have no next one for each."""
        for name, values in self._seen.items():
            if name.startswith("Paginated"):
                continue
            for member in self._schemas[name].get("properties", {}):
                if all(value.get(member) in (None, [], {}) for value in values):
                    yield f"{name}.{member}"
