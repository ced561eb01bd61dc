"""A report as a file: CSV for spreadsheets, JSON for programs."""

import csv
import io
import json
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _

from billing.reporting.exports import harmless_text
from monitoring.reports.tables import Report, Table
from monitoring.reports.words import plain


def as_csv(report: Report) -> str:
    """All tables one below the other, each with its title and its heads; the last line says how it reconciles.

    Credits have six decimals, money those of its currency. A text that a spreadsheet would run gets an apostrophe.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([harmless_text(report.title), report.period.first, report.period.last])
    writer.writerow([_("Time zone"), settings.REPORTING_TIME_ZONE])
    writer.writerow([_("Made"), _moment(report.made_at)])
    for table in report.tables:
        writer.writerows([[], [harmless_text(table.title)], [harmless_text(column.title) for column in table.columns]])
        for row in table.all_rows:
            values = (plain(column, row) for column in table.columns)
            writer.writerow([harmless_text(value) if _is_text(value) else value for value in values])
    writer.writerows([[], [harmless_text(f"{report.proof.heading} {report.proof.text}")]])
    return text.getvalue()


def as_json(report: Report) -> str:
    """The same as the API answers."""
    return json.dumps(as_data(report), ensure_ascii=False, indent=1) + "\n"


def as_data(report: Report) -> dict[str, Any]:
    """For programs: whole microcredits, smallest units of money, seconds; moments in UTC."""
    period = report.period
    return {
        "report": report.name,
        "title": report.title,
        "period": {
            "first_day": period.first.isoformat(),
            "last_day": period.last.isoformat(),
            "time_zone": settings.REPORTING_TIME_ZONE,
            "begins_at": _moment(period.begin),
            "ends_at": _moment(period.end),
            "is_running": period.is_running,
        },
        "made_at": _moment(report.made_at),
        "tables": [_table(table) for table in report.tables],
        "reconciliation": {
            "is_good": report.proof.is_good,
            "text": f"{report.proof.heading} {report.proof.text}",
            "figures": report.proof.figures,
        },
    }


def _table(table: Table) -> dict[str, Any]:
    return {
        "key": table.key,
        "title": table.title,
        "columns": [{"key": column.key, "title": column.title, "unit": column.unit.value} for column in table.columns],
        "first": table.first,
        "rows": table.rows,
        "last": table.last,
    }


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _is_text(value: Any) -> bool:
    """Whether it is text that somebody wrote; numbers with a sign are text for the writer, too."""
    return isinstance(value, str) and not value.lstrip("-").replace(".", "", 1).isdecimal()
