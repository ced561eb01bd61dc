"""Lists of the API: cursor pages, and filters that mean what they say."""

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
    """Cursor pages: `next` and `previous` are addresses. New rows never shift what is on the following pages."""

    page_size = 20
    max_page_size = MOST_A_PAGE
    page_size_query_param = "limit"
    page_size_query_description = f"How many on a page, 1 to {MOST_A_PAGE}."
    cursor_query_description = "From `next` or `previous` of an earlier page."

    def get_ordering(self, _request: Request, _queryset: QuerySet[Any], view: Any) -> Any:
        """Each list says its own, by a column that has an index."""
        return (view.ordering,)

    def get_page_size(self, request: Request) -> int:
        """`limit`. Raises ValidationError for anything but 1 to 100."""
        text = request.query_params.get("limit")
        if text is None:
            return self.page_size
        if not (text.isascii() and text.isdigit() and len(text) < 4 and 1 <= int(text) <= MOST_A_PAGE):
            raise exceptions.ValidationError({"limit": [_("A number between 1 and {most}.").format(most=MOST_A_PAGE)]})
        return int(text)

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> Any:
        """One page. A cursor that nobody gave out is a 404."""
        try:
            return super().paginate_queryset(queryset, request, view)
        except (ValueError, InvalidValue, DataError):
            raise Problem(NOT_FOUND, _("There is no such page. Begin without a cursor.")) from None

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        """The bounds of `limit`, for the documentation."""
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
    """Raise ValidationError for parameters of an address that are not known: a misspelt filter filters nothing."""
    unknown = sorted(set(query) - known)
    if unknown:
        raise exceptions.ValidationError({name[:60]: [_("There is no such parameter.")] for name in unknown[:20]})


class StrictFilters(DjangoFilterBackend):  # type: ignore[misc]
    """Filters that mean what they say: once each, never empty, and true or false in these words."""

    def get_filterset(self, request: Request, queryset: QuerySet[Any], view: Any) -> Any:
        """Raises ValidationError for what the library would take for no filter at all."""
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
