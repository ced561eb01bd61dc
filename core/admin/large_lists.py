"""Lists of tables with millions of rows: no page counts them, and a search asks only what an index answers."""

from typing import Any

from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.utils.functional import cached_property

MOST_COUNTED = 1_000  # how many rows a list counts, and so how far its pages go: a filter finds the others


class CountingToALimit(Paginator[Any]):
    """Counts MOST_COUNTED rows at most, so that counting takes as long for a million rows as for a thousand."""

    @cached_property
    def count(self) -> int:
        """How many rows there are, MOST_COUNTED if there are more."""
        rows: Any = self.object_list
        if isinstance(rows, QuerySet):
            return int(rows[:MOST_COUNTED].count())  # in the order of the list: its index serves both
        return len(rows)
