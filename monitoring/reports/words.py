"""Values of reports as people read them, and as files have them."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from django.utils.formats import number_format

from billing.currencies import decimals_of, from_minor
from billing.reporting.exports import exact_credits
from monitoring.reports.tables import Column, Report, Row, Table, Unit

UNKNOWN = "\N{EN DASH}"
DECIMALS_OF_CREDITS = 6


def show(column: Column, row: Row) -> str:
    """A value as people read it, in the form of their language. Credits have all six decimals."""
    if column.key not in row:
        return ""
    value = row[column.key]
    if value is None:
        return UNKNOWN
    match column.unit:
        case Unit.MICROCREDITS:
            return show_credits(value)
        case Unit.MINOR:
            return show_money(value, row["currency"])
        case Unit.COUNT:
            return number_format(value, 0, force_grouping=True)
        case Unit.SECONDS | Unit.RATE:
            return number_format(value, 3, force_grouping=True)
        case Unit.PERCENT:
            return number_format(value, 1)
    return str(value)


def shown(table: Table) -> dict[str, Any]:
    """A table for a template: its values as people read them, each with whether it is a number."""

    def cells(row: Row) -> list[tuple[str, bool]]:
        return [(show(column, row), column.is_number) for column in table.columns]

    return {
        "table": table,
        "first": cells(table.first) if table.first else None,
        "rows": [cells(row) for row in table.rows],
        "last": cells(table.last) if table.last else None,
    }


def show_credits(microcredits: int) -> str:
    """Credits with six decimals: 1234567 is '1.234567'."""
    return number_format(Decimal(microcredits).scaleb(-6), DECIMALS_OF_CREDITS, force_grouping=True)


def show_money(amount_minor: int, currency: str) -> str:
    """An amount with the decimals of its currency, without its sign: 123456 usd is '1,234.56'."""
    return number_format(from_minor(amount_minor, currency), decimals_of(currency), force_grouping=True)


def plain(column: Column, row: Row) -> Any:
    """A value for a file that a spreadsheet opens: exact numbers with a point, credits as credits."""
    value = row.get(column.key)
    if value is None:
        return ""
    match column.unit:
        case Unit.MICROCREDITS:
            return exact_credits(value)
        case Unit.MINOR:
            return str(from_minor(value, row["currency"]))
        case Unit.SECONDS | Unit.RATE:
            return f"{value:.6f}"
        case Unit.PERCENT:
            return f"{value:.3f}"
    return value


def as_text(report: Report) -> str:
    """The whole report as plain text, for a terminal and for mail."""
    return "\n".join(_lines(report))


def _lines(report: Report) -> Iterator[str]:
    yield f"{report.title}, {report.period.name}"
    for table in report.tables:
        yield ""
        yield table.title
        yield from _lines_of(table)
        if table.note:
            yield f"  {table.note}"
    yield ""
    yield f"{report.proof.heading} {report.proof.text}".strip()


def _lines_of(table: Table) -> Iterator[str]:
    cells = [[column.title for column in table.columns]]
    cells += [[show(column, row) for column in table.columns] for row in table.all_rows]
    widths = [max(len(row[place]) for row in cells) for place in range(len(table.columns))]
    for row in cells:
        aligned = [
            cell.rjust(width) if column.is_number else cell.ljust(width)
            for cell, width, column in zip(row, widths, table.columns, strict=True)
        ]
        yield "  " + "  ".join(aligned).rstrip()
