"""Lists of the admin that stay quick with millions of rows: nothing is counted, searched or sorted by reading them all.

Django's own list counts all its rows for each page, and searches every column for parts of words.
"""

from html import unescape
from typing import Any

from django.contrib.admin.utils import display_for_value, lookup_field
from django.contrib.admin.views.main import ORDER_VAR, PAGE_VAR, ChangeList
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import strip_tags
from django.utils.safestring import SafeString

MOST_PAGES = 100  # further back one comes by a filter
MOST_OWNERS = 20
MOST_EXPORTED = 10_000


class _NoPages:
    """Stands for Django's paginator, which would count."""

    def get_elided_page_range(self, _number: int) -> list[int]:
        """No list of pages: there is a previous and a next one."""
        return []


class QuickChangeList(ChangeList):
    """A page of rows, and whether there is another. One query."""

    has_next = False

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        """Django's; in the order of the list itself where no column may be sorted, whatever the URL asks for."""
        if not self.sortable_by:
            self.params.pop(ORDER_VAR, None)
        return super().get_ordering(request, queryset)

    def get_results(self, request: HttpRequest) -> None:  # noqa: ARG002  Django's
        """Read one row more than the page shows, instead of counting them all."""
        self.page_num = min(max(self.page_num, 1), MOST_PAGES)
        first = (self.page_num - 1) * self.list_per_page
        rows = list(self.queryset[first : first + self.list_per_page + 1])
        self.has_next = len(rows) > self.list_per_page and self.page_num < MOST_PAGES
        self.result_list = rows[: self.list_per_page]
        self.result_count = len(self.result_list)  # so that nothing offers to select more than is shown
        self.show_full_result_count, self.full_result_count = False, None
        self.can_show_all, self.multi_page = False, self.has_next or self.page_num > 1
        self.paginator = _NoPages()

    @property
    def csv_url(self) -> str:
        """Where the list is as a file, without its filters."""
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_csv")

    @property
    def next_query(self) -> str:
        return self.get_query_string({PAGE_VAR: self.page_num + 1})

    @property
    def previous_query(self) -> str:
        return self.get_query_string({PAGE_VAR: self.page_num - 1})


def search(queryset: QuerySet[Any], names: tuple[str, ...], text: str) -> QuerySet[Any]:
    """The rows that the text means: of users whose address begins so, or with exactly this in one of the columns.

    A name that ends in `email` leads to a user. All others are columns of the table itself, which have an index.
    """
    text = text.replace("\x00", "").strip()[:200]
    wanted = Q(pk__in=[])
    if "@" in text:
        users = get_user_model().objects.filter(email__startswith=text.lower()).order_by("email")
        ids = list(users.values_list("pk", flat=True)[:MOST_OWNERS])
        for name in names:
            path, _separator, last = name.rpartition("__")
            if last == "email" and (path or queryset.model is get_user_model()):
                wanted |= Q(**{f"{path or 'pk'}__in": ids})
            elif name == "email":
                wanted |= Q(email__startswith=text.lower())
        return queryset.filter(wanted)
    for name in (each for each in names if not each.endswith("email")):
        try:
            value = queryset.model._meta.get_field(name).to_python(text)
        except ValidationError:
            continue
        wanted |= Q(**{f"{name}__in": [value, value.upper()] if isinstance(value, str) else [value]})
    return queryset.filter(wanted)


def rows_of(changelist: ChangeList) -> list[list[Any]]:
    """The rows of a list as it is filtered, at most MOST_EXPORTED, by its columns, as a file holds them."""
    model_admin = changelist.model_admin
    columns = [str(name) for name in changelist.list_display if name != "action_checkbox"]
    rows = [[_value(name, row, model_admin) for name in columns] for row in changelist.queryset[: MOST_EXPORTED + 1]]
    if len(rows) > MOST_EXPORTED:
        rows[MOST_EXPORTED:] = [[f"Only the first {MOST_EXPORTED} rows: filter by date for the others."]]
    return [columns, *rows]


def _value(name: str, row: Model, model_admin: Any) -> Any:
    """One cell: moments as ISO 8601, numbers as they are, all else as text."""
    _field, _attribute, value = lookup_field(name, row, model_admin)
    if isinstance(value, SafeString):  # a link; the file holds its words
        return unescape(strip_tags(value))
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return value if isinstance(value, int) else str("" if value is None else display_for_value(value, ""))
