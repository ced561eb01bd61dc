"""What a report is: tables with typed columns, a chart beside some of them, and the line that says how it reconciles.

Pages, files, the API and the command all show the same tables.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

from monitoring.reports.periods import ReportPeriod

Row = dict[str, Any]  # by the keys of the columns; what is unknown is None


class Unit(Enum):
    """What the values of a column are."""

    TEXT = "text"
    COUNT = "count"
    MICROCREDITS = "microcredits"  # whole ones; people read credits
    MINOR = "minor"  # smallest units of the currency in the column `currency`
    SECONDS = "seconds"
    PERCENT = "percent"
    RATE = "rate"  # a second


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its name for programs, its title for people, and its unit."""

    key: str
    title: str
    unit: Unit = Unit.TEXT

    @property
    def is_number(self) -> bool:
        """Whether it is aligned to the right."""
        return self.unit != Unit.TEXT


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a title. `first` stands before them and `last` is their sum; both are shown in bold.

    `charted` are the keys of the columns that are drawn too, beside each row's first column.
    """

    key: str
    title: str
    columns: tuple[Column, ...]
    rows: list[Row]
    first: Row | None = None
    last: Row | None = None
    note: str = ""
    charted: tuple[str, ...] = ()
    is_aside: bool = False

    @property
    def all_rows(self) -> list[Row]:
        """With the first and the last."""
        return [row for row in (self.first, *self.rows, self.last) if row is not None]


@dataclass(frozen=True, slots=True)
class Proof:
    """The last line of a report: whether it agrees with the ledger, and the figures that say so.

    `figures` are integers by name, for programs: microcredits, or numbers of entries.
    """

    is_good: bool
    heading: str
    text: str
    figures: dict[str, int]


@dataclass(frozen=True, slots=True)
class Report:
    """A report that was made."""

    name: str
    title: str
    period: ReportPeriod
    made_at: datetime
    proof: Proof
    tables: list[Table] = field(default_factory=list)
