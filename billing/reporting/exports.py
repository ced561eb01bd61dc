"""The history as a file, CSV or JSON, streamed: the memory it needs does not grow with the history.

Entries are read in batches by primary key, each batch in a thread that then gives its connection back. A server-side
cursor would occupy a connection of the pool until the slowest customer has downloaded everything. Entries are
append-only, and the entries of a wallet are numbered in the order they commit. So batches with falling numbers are
together one consistent state.
"""

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from django.db import connection
from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from django.utils import timezone

from billing.models import MICROCREDITS_PER_CREDIT, EntryKind, LedgerEntry
from core.async_queries import in_thread
from core.spreadsheets import FORMULA_STARTS

BATCH_ENTRIES = 1000
BATCHES_AT_ONCE = 2  # in a process, so that downloads leave processor time and connections to the pages
_batches_at_once = asyncio.Semaphore(BATCHES_AT_ONCE)

# Amounts in credits are text with six decimals: exact in every reader.
COLUMNS = (
    "entry_id",
    "created_at",
    "kind",
    "amount_microcredits",
    "amount_credits",
    "balance_after_microcredits",
    "model",
    "prompt_tokens",
    "completion_tokens",
    "hold_id",
    "reason",
)
FIELDS = (
    "pk",
    "created_at",
    "kind",
    "amount_microcredits",
    "balance_after_microcredits",
    "hold__model_key",
    "hold__prompt_tokens",
    "hold__completion_tokens",
    "hold_id",
    "reason",
)

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Format:
    """How rows become a file: the text before, between and after the batches, and the function that renders a batch."""

    content_type: str
    head: str
    between: str
    tail: str
    render: Callable[[Iterable[Row]], str]


def export_response(entries: QuerySet[LedgerEntry], format_name: str) -> StreamingHttpResponse:
    """A download of these entries, the latest first. `format_name` is a key of FORMATS."""
    file_format = FORMATS[format_name]
    response = streamed(entries, file_format)
    file_name = f"tally-credits-{timezone.now():%Y-%m-%d}.{format_name}"
    response["Content-Disposition"] = f'attachment; filename="{file_name}"'
    return response


def streamed(
    entries: QuerySet[LedgerEntry], file_format: Format, *, is_oldest_first: bool = False
) -> StreamingHttpResponse:
    """Return these entries in the given format, the latest first unless asked otherwise."""
    parts = stream(entries, file_format, is_oldest_first=is_oldest_first)
    response = StreamingHttpResponse(parts, content_type=file_format.content_type)
    response["Cache-Control"] = "no-store"
    connection.close()  # the log-in check used it, and the download may have to wait
    return response


async def stream(
    entries: QuerySet[LedgerEntry], file_format: Format, *, is_oldest_first: bool = False
) -> AsyncIterator[bytes]:
    """Yield the file piece by piece. Holds no database connection and no rows between two pieces."""
    yield file_format.head.encode()
    separator = ""
    beyond: int | None = None
    is_last = False
    while not is_last:
        batch = partial(_render_batch, entries, file_format, beyond, is_oldest_first)
        async with _batches_at_once:
            text, beyond, is_last = await in_thread(batch)
        if text:
            yield f"{separator}{text}".encode()
            separator = file_format.between
    yield file_format.tail.encode()


def _render_batch(
    entries: QuerySet[LedgerEntry], file_format: Format, beyond: int | None, is_oldest_first: bool
) -> tuple[str, int | None, bool]:
    """Return the next entries beyond this number as text, the last number among them, and whether no more follow."""
    order, side = ("pk", "pk__gt") if is_oldest_first else ("-pk", "pk__lt")
    following = entries if beyond is None else entries.filter(**{side: beyond})
    rows = [_row(*values) for values in following.order_by(order).values_list(*FIELDS)[:BATCH_ENTRIES]]
    return file_format.render(rows), rows[-1][0] if rows else None, len(rows) < BATCH_ENTRIES


def _row(pk: int, created_at: datetime, kind: str, amount: int, *rest: Any) -> Row:
    """Return one entry in the order of COLUMNS.

    Only usage has tokens, so that sums do not count them again for a refund.
    """
    balance_after, model, prompt_tokens, completion_tokens, hold_id, reason = rest
    moment = created_at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    hold = str(hold_id) if hold_id else None
    tokens = (prompt_tokens, completion_tokens) if kind == EntryKind.USAGE else (None, None)
    return (pk, moment, kind, amount, _exact_credits(amount), balance_after, model, *tokens, hold, reason)


def _exact_credits(microcredits: int) -> str:
    whole, rest = divmod(abs(microcredits), MICROCREDITS_PER_CREDIT)
    return f"{'-' if microcredits < 0 else ''}{whole}.{rest:06d}"


def _harmless(column: str, value: Any) -> Any:
    """Put an apostrophe before text that a spreadsheet would run as a formula; numbers stay numbers."""
    is_formula = column in {"model", "reason"} and value and value.startswith(FORMULA_STARTS)
    return f"'{value}" if is_formula else value


def _as_csv(rows: Iterable[Row]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows([*map(_harmless, COLUMNS, row)] for row in rows)
    return text.getvalue()


def framed_csv(opening_microcredits: int, closing_microcredits: int) -> Format:
    """Return the CSV format. A row before the entries has the opening balance, a row after them the closing balance."""
    before, after = (
        _as_csv([(None, None, kind, None, None, balance, *[None] * 5)])
        for kind, balance in (("opening_balance", opening_microcredits), ("closing_balance", closing_microcredits))
    )
    plain = FORMATS["csv"]
    return Format(plain.content_type, plain.head + before, plain.between, after, plain.render)


def _as_json(rows: Iterable[Row]) -> str:
    return ",\n".join(json.dumps(dict(zip(COLUMNS, row, strict=True)), ensure_ascii=False) for row in rows)


FORMATS = {
    "csv": Format("text/csv; charset=utf-8", ",".join(COLUMNS) + "\r\n", "", "", _as_csv),
    "json": Format("application/json", "[\n", ",\n", "\n]\n", _as_json),
}
