"""Line charts of tables over time. What is unknown is a gap.

The lines are in a nested SVG that stretches with its page, from 0 to 100 both ways; words and strokes do not stretch.
"""

from dataclasses import dataclass
from itertools import groupby

from billing.reporting.charts import Label, round_up
from monitoring.reports.charts import HEIGHT, LOOKS, MILLION, PLOT_BOTTOM, PLOT_TOP, label_rows, mark_axis
from monitoring.reports.tables import Table


@dataclass(frozen=True, slots=True)
class Line:
    """One unbroken piece of a series: its points, as SVG's `points` has them, and its look."""

    points: str
    look: int


@dataclass(frozen=True, slots=True)
class Lines:
    """What the template draws. `legend` is the look and the name of each series."""

    height: int
    plot_top: int
    plot_height: int
    lines: list[Line]
    marks: list[Label]
    labels: list[Label]
    legend: list[tuple[int, str]]


def draw_lines(table: Table) -> Lines | None:
    """Return the lines of the columns that are drawn; None if nothing is known of any."""
    columns = [column for column in table.columns if column.key in table.charted]
    known = [row[column.key] for row in table.rows for column in columns if row[column.key] is not None]
    if not known:
        return None
    ceiling = round_up(int(max(known) * MILLION))
    lines = [
        Line(points, series % LOOKS)
        for series, column in enumerate(columns)
        for points in _pieces([row[column.key] for row in table.rows], ceiling / MILLION)
    ]
    legend = [(series % LOOKS, column.title) for series, column in enumerate(columns)]
    height = PLOT_BOTTOM - PLOT_TOP
    return Lines(HEIGHT, PLOT_TOP, height, lines, mark_axis(ceiling), label_rows(table, left=0.0), legend)


def _pieces(values: list[float | None], ceiling: float) -> list[str]:
    """The points of each run of known values. A value that stands alone is a short line, so that it is seen."""
    width = 100 / len(values)
    pieces = []
    for is_known, run in groupby(enumerate(values), key=lambda place: place[1] is not None):
        if not is_known:
            continue
        points = [(width * (place + 0.5), 100 - 100 * (value or 0.0) / ceiling) for place, value in run]
        if len(points) == 1:
            [(x, y)] = points
            points = [(x - width / 2, y), (x + width / 2, y)]
        pieces.append(" ".join(f"{x:.2f},{y:.2f}" for x, y in points))
    return pieces
