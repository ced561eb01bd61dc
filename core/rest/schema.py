"""How the OpenAPI schema documents operations.

Every method of a view has the decorator `operation`; the usual errors are added automatically. A method without the
decorator, a docstring, an example or its security fails tests/api/test_schema.py.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    OpenApiResponse,
    PolymorphicProxySerializer,
    extend_schema,
)
from rest_framework import serializers
from rest_framework.generics import GenericAPIView

from core.rest.fields import ApiInput
from core.rest.idempotency import MOST_CHARACTERS
from core.rest.permissions import TallyPermission
from core.rest.problems import BY_STATUS, CONTENT_TYPE, problem_body

INT32 = 2**31 - 1
ERRORS = "x-tally-errors"
WITH_BODY = ("POST", "PUT", "PATCH")
KEY_SCHEMA = {"type": "string", "minLength": 1, "maxLength": MOST_CHARACTERS, "pattern": "^[ -~]+$"}
IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    KEY_SCHEMA,
    OpenApiParameter.HEADER,
    required=True,
    description="A new one for each new request; the same one for a retry, which then gets the same answer.",
)

Method = TypeVar("Method", bound=Callable[..., Any])


class ProblemSerializer(serializers.Serializer[Any]):
    """What went wrong (RFC 9457), in `application/problem+json`."""

    type = serializers.CharField(help_text="`urn:tally:problem:` and the code.")
    title = serializers.CharField(help_text="The same for every problem of this code.")
    status = serializers.IntegerField(help_text="The HTTP status again.")
    code = serializers.CharField(help_text="For programs; never translated.")
    detail = serializers.CharField(help_text="What happened this time.")
    action = serializers.CharField(help_text="What you can do about it.")
    request_id = serializers.CharField(help_text="Quote it to support; also in the header `X-Request-Id`.")
    errors = serializers.DictField(  # type: ignore[assignment]  # the name is the standard's way
        child=serializers.ListField(child=serializers.CharField()),
        required=False,
        help_text="By field, a dotted path; `body` is the whole.",
    )

    class Meta:
        ref_name = "Problem"


def operation(
    *,
    tag: str,
    summary: str,
    answer: Any = None,
    example: Any = None,
    body: Any = None,
    body_example: Any = None,
    status: int = 200,
    errors: Sequence[int] = (),
    parameters: Sequence[OpenApiParameter | type[serializers.Serializer[Any]]] = (),
    media_type: str = "application/json",
) -> Callable[[Method], Method]:
    """Document one method of a view, whose docstring becomes the description.

    `example` is a real answer. `errors` are the statuses beyond those that every operation of its kind has.
    """
    examples = [] if example is None else [OpenApiExample("Answer", value=example)]
    response = OpenApiResponse(answer, description=summary, examples=examples)
    extensions = {ERRORS: list(errors)}
    return extend_schema(
        tags=[tag],
        summary=summary,
        parameters=list(parameters),
        request=body,
        examples=[] if body_example is None else [OpenApiExample("Request", value=body_example, request_only=True)],
        responses={status if media_type == "application/json" else (status, media_type): response},
        extensions=extensions,
    )


def either(name: str, *kinds: type[serializers.Serializer[Any]]) -> PolymorphicProxySerializer:
    """A body of one of several kinds."""
    return PolymorphicProxySerializer(component_name=name, serializers=list(kinds), resource_type_field_name=None)


class TallySchema(AutoSchema):
    """Adds to each operation who may call it and how it can fail."""

    def get_operation_id(self) -> str:
        """An id that every client generator accepts: letters, digits and underscores."""
        return re.sub(r"\W", "_", super().get_operation_id())

    def get_operation(self, *args: Any, **kwargs: Any) -> dict[str, Any] | None:
        """One operation, with the errors of its kind."""
        found: dict[str, Any] | None = super().get_operation(*args, **kwargs)
        if found is None:
            return None
        found.setdefault("security", [])
        if isinstance(self.get_request_serializer(), PolymorphicProxySerializer):
            found["requestBody"]["required"] = True
        problem = self.resolve_serializer(ProblemSerializer, "response").ref
        for status in sorted({*self._usual_errors(found), *found.pop(ERRORS, [])}):
            found["responses"][str(status)] = _error(status, problem)
        if self.method == "GET" and "200" in found["responses"]:
            found["responses"]["304"] = {"description": "Unchanged since the ETag in `If-None-Match`."}
        return found

    def get_filter_backends(self) -> list[Any]:
        """The filter backends of a list, whether it is paged or a file."""
        return list(self.view.filter_backends) if self.method == "GET" and hasattr(self.view, "filter_backends") else []

    def _get_filter_parameters(self) -> list[dict[str, Any]]:
        """Give text filters a minimum length, because `StrictFilters` refuses empty ones."""
        parameters: list[dict[str, Any]] = super()._get_filter_parameters()  # type: ignore[no-untyped-call]
        for parameter in parameters:
            if parameter["schema"] == {"type": "string"}:
                parameter["schema"] = {"type": "string", "minLength": 1}
        return parameters

    def _is_list_view(self, serializer: Any = None) -> bool:
        is_file = isinstance(self.view, GenericAPIView) and self.view.pagination_class is None
        return not is_file and bool(super()._is_list_view(serializer))

    def get_description(self) -> str:  # type: ignore[override]  # as drf-spectacular has it
        """The method's docstring, and who may call the operation."""
        permissions = [permission.described for permission in self._permissions() if permission.described]
        return "\n\n".join([str(super().get_description()), *permissions]).strip()

    def get_auth(self) -> list[dict[str, list[str]]]:
        """The accepted credentials: a key or a log-in, or only a log-in; none if anybody may call."""
        permissions = self._permissions()
        if not permissions:
            return []
        takes_keys = all(permission.takes_keys(self.method) for permission in permissions)
        return [{"ApiKey": []}, {"AccessToken": []}] if takes_keys else [{"AccessToken": []}]

    def _permissions(self) -> list[type[TallyPermission]]:
        kinds: Any = self.view.permission_classes
        return [kind for kind in kinds if issubclass(kind, TallyPermission)]

    def _usual_errors(self, found: dict[str, Any]) -> set[int]:
        errors = {429}
        if self._permissions():
            errors |= {401, 403}
        if "{" in self.path or any(p["name"] == "cursor" for p in found.get("parameters", [])):
            errors.add(404)
        if any(parameter["in"] in ("query", "header") for parameter in found.get("parameters", [])):
            errors.add(400)
        if self.method in WITH_BODY:
            errors |= {400, 413, 415}
        return errors

    def _map_basic_serializer(self, serializer: Any, direction: str) -> dict[str, Any]:
        schema: dict[str, Any] = super()._map_basic_serializer(  # type: ignore[no-untyped-call]
            serializer, direction
        )
        kind = serializer if isinstance(serializer, type) else type(serializer)
        if direction == "request" and issubclass(kind, ApiInput):
            schema["additionalProperties"] = False
        return schema


def _error(status: int, problem: dict[str, str]) -> dict[str, Any]:
    kind = BY_STATUS[status]
    example = problem_body(kind, None) | {"request_id": "3f1c0a5e9d7b4c6f8a2e1d0b9c8f7a6e"}
    if status == 400:
        example |= {"detail": "name: This field is required.", "errors": {"name": ["This field is required."]}}
    headers = {}
    if status == 429:
        headers["Retry-After"] = {"schema": {"type": "integer"}, "description": "Seconds to wait."}
    if status == 401:
        headers["WWW-Authenticate"] = {"schema": {"type": "string"}, "description": "What to send."}
    content = {CONTENT_TYPE: {"schema": problem, "examples": {kind.code: {"value": example}}}}
    return {"description": kind.title, "content": content, **({"headers": headers} if headers else {})}


def say_int64(result: dict[str, Any], **_options: Any) -> dict[str, Any]:
    """Set `format: int64` on each integer that may exceed 32 bits: typed clients use 32 bits for all others.

    This is one of drf-spectacular's POSTPROCESSING_HOOKS; `result` is the whole document.
    """
    pending: list[Any] = [result["paths"], result["components"]["schemas"]]
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending.extend(node)
        elif isinstance(node, dict):
            if node.get("type") == "integer" and node.get("maximum", INT32 + 1) > INT32:
                node["format"] = "int64"
            pending.extend(value for name, value in node.items() if name not in ("example", "examples"))
    return result
