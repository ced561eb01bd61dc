"""Lists of tables with millions of rows: no page counts or sorts them, and a search asks only what an index answers."""

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db import connection, models
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django_stubs_ext import StrOrPromise

from core.admin.base import StrictLookups

MOST_PEOPLE = 20  # whom the beginning of an address may mean at once
LONGEST_NUMBER = 18  # digits of an id

# One probe of the index for each value, however many rows there are.
_VALUES = """
WITH RECURSIVE found AS (
    (SELECT {column} AS value FROM {table} ORDER BY {column} LIMIT 1)
    UNION ALL
    SELECT (SELECT {column} FROM {table} WHERE {column} > found.value ORDER BY {column} LIMIT 1)
    FROM found WHERE found.value IS NOT NULL
)
SELECT value FROM found WHERE value IS NOT NULL
"""


class LargeList(StrictLookups):
    """A list of a table that grows with the site. `ordering` and each filter must have an index.

    The search box finds the rows of a person, by their number or the beginning of their address, through the column
    `people` (a user, or something that belongs to one), and the rows that have exactly this text, number or UUID in a
    column of `found_by`.
    """

    people = ""
    found_by: tuple[str, ...] = ()
    search_fields = ("pk",)  # there is a box; `get_search_results` says what it does
    sortable_by = ()  # there is an index for the order of the list alone

    def get_search_results(
        self, _request: HttpRequest, rows: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """The rows that the text names; False, since none comes twice."""
        text = search_term.strip().replace("\x00", "")
        return (rows.filter(self.named_by(text)) if text else rows), False

    def named_by(self, text: str) -> Q:
        """The condition for rows that the text names; one that nothing fulfils where it can name none."""
        named = Q(pk__in=[])
        if self.people and (owners := self._owners(find_people(text))):
            named |= Q(**{f"{self.people}__in": owners})
        for name in self.found_by:
            if (value := _read(self.model._meta.get_field(name), text)) is not None:
                named |= Q(**{name: value})
        return named

    def _owners(self, people: list[int]) -> list[Any]:
        if self.people == "pk":
            return people
        related: Any = self.model._meta.get_field(self.people).related_model
        if issubclass(related, get_user_model()):
            return people
        return list(related.objects.filter(user__in=people).values_list("pk", flat=True)) if people else []


def find_people(text: str) -> list[int]:
    """The ids of the users that a number or the beginning of an e-mail address names, MOST_PEOPLE at most."""
    users = get_user_model().objects.all()
    if text.isdecimal():
        return [int(text)] if len(text) <= LONGEST_NUMBER else []
    return list(users.filter(email__startswith=text.lower()).values_list("pk", flat=True)[:MOST_PEOPLE])


def filter_of_values(column: str, label: StrOrPromise) -> type[admin.SimpleListFilter]:
    """A filter by the values of a column of text that an index begins with. Django's own would read the whole table."""

    class ValuesFilter(admin.SimpleListFilter):
        title = label
        parameter_name = column

        def lookups(self, _request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
            return [(value, value) for value in values_of(model_admin.model, column)]

        def queryset(self, _request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any]:
            return rows.filter(**{column: self.value()}) if self.value() else rows

    return ValuesFilter


def values_of(model: type[models.Model], column: str) -> list[str]:
    """Every value of a column that an index begins with, in order."""
    quoted = {"table": model._meta.db_table, "column": column}
    with connection.cursor() as cursor:
        cursor.execute(_VALUES.format(**{name: connection.ops.quote_name(text) for name, text in quoted.items()}))
        return [str(value) for (value,) in cursor.fetchall()]


def _read(field: Any, text: str) -> Any:
    """The text as a value of the field, None where it can be none."""
    target = field.target_field if field.is_relation else field
    if isinstance(target, models.UUIDField):
        try:
            return UUID(text)
        except ValueError:
            return None
    if isinstance(target, models.IntegerField):
        return int(text) if text.isdecimal() and len(text) <= LONGEST_NUMBER else None
    return text
