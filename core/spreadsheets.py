"""Tables as CSV files that a spreadsheet opens without running anything."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

from django.http import HttpResponse
from django.utils import timezone

# With these a spreadsheet begins a formula (OWASP, "CSV injection"). The last four are the full-width forms.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
NUMBER = re.compile(r"[+-]?\d[\d.,]*")


def harmless(value: Any) -> Any:
    """Put an apostrophe before text that a spreadsheet would run as a formula; numbers stay numbers."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(FORMULA_STARTS) and not NUMBER.fullmatch(text) else text


def csv_answer(name: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> HttpResponse:
    """A download of these rows below the names of their columns."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows([harmless(value) for value in row] for row in rows)
    answer = HttpResponse(text.getvalue(), content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="tally-{name}-{timezone.now():%Y-%m-%d}.csv"'
    answer["Cache-Control"] = "no-store"
    return answer
