"""Lists of the API: cursor pagination, and filters that refuse misspelt or ambiguous parameters."""

from typing import Any

from django.core.exceptions import ValidationError as InvalidValue
from django.db import DataError
from django.db.models import QuerySet
from django.utils.translation import gettext as _
from django_filters import BooleanFilter
from django_filters.rest_framework import DjangoFilterBackend
from rest_framework import exceptions
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request

from core.rest.problems import NOT_FOUND, Problem

MOST_A_PAGE = 100
PAGING = ("limit", "cursor")


class Pages(CursorPagination):
    """Cursor pagination: `next` and `previous` are URLs. New rows never shift the rows of the following pages."""

    page_size = 20
    max_page_size = MOST_A_PAGE
    page_size_query_param = "limit"
    page_size_query_description = f"How many on a page, 1 to {MOST_A_PAGE}."
    cursor_query_description = "From `next` or `previous` of an earlier page."

    def get_ordering(self, _request: Request, _queryset: QuerySet[Any], view: Any) -> Any:
        """The ordering that the view names: a column with an index."""
        return (view.ordering,)

    def get_page_size(self, request: Request) -> int:
        """The number of rows on a page, from `limit`. Raises ValidationError for anything but 1 to 100."""
        text = request.query_params.get("limit")
        if text is None:
            return self.page_size
        if not (text.isascii() and text.isdigit() and len(text) < 4 and 1 <= int(text) <= MOST_A_PAGE):
            raise exceptions.ValidationError({"limit": [_("A number between 1 and {most}.").format(most=MOST_A_PAGE)]})
        return int(text)

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> Any:
        """Return one page. Raises a 404 problem for an invalid cursor."""
        try:
            return super().paginate_queryset(queryset, request, view)
        except (ValueError, InvalidValue, DataError):
            raise Problem(NOT_FOUND, _("There is no such page. Begin without a cursor.")) from None

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        """Add the bounds of `limit` to the schema."""
        parameters: list[dict[str, Any]] = super().get_schema_operation_parameters(view)
        for parameter in parameters:
            if parameter["name"] == self.page_size_query_param:
                parameter["schema"] = {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": MOST_A_PAGE,
                    "default": self.page_size,
                }
        return parameters


def refuse_unknown(query: Any, known: set[str]) -> None:
    """Raise ValidationError for unknown query parameters: a misspelt filter would otherwise be ignored."""
    unknown = sorted(set(query) - known)
    if unknown:
        raise exceptions.ValidationError({name[:60]: [_("There is no such parameter.")] for name in unknown[:20]})


class StrictFilters(DjangoFilterBackend):  # type: ignore[misc]
    """Accepts each filter once and not empty, and a boolean only as `true` or `false`."""

    def get_filterset(self, request: Request, queryset: QuerySet[Any], view: Any) -> Any:
        """Raises ValidationError for parameters that the library would ignore."""
        filterset = super().get_filterset(request, queryset, view)
        known = {*({} if filterset is None else filterset.filters), *(PAGING if view.pagination_class else ())}
        refuse_unknown(request.query_params, known)
        for name, one in ({} if filterset is None else filterset.filters).items():
            values = request.query_params.getlist(name)
            is_flag = isinstance(one, BooleanFilter)
            if len(values) > 1 or values == [""] or (is_flag and values and values[0] not in ("true", "false")):
                words = _("Send it once, as true or false.") if is_flag else _("Send it once, and not empty.")
                raise exceptions.ValidationError({name: [words]})
        return filterset
