"""Charts of reports: for each row of a table a group of bars, one for each column that is drawn."""

from decimal import Decimal

from django.utils.formats import number_format
from django.utils.translation import gettext as _

from billing.reporting.charts import Bar, Chart, Label, round_up
from monitoring.reports.tables import Column, Table, Unit
from monitoring.reports.words import show

LOOKS = 6  # as in templates/monitoring/reports/_patterns.html
PLOT_TOP, PLOT_BOTTOM, HEIGHT = 24, 186, 210
LEFT, WIDTH = 4.0, 96.0  # percent of the chart
GROUP_SHARE = 0.8  # of a row's width
MOST_LABELS = 5
MILLION = 1_000_000


def draw(table: Table) -> Chart | None:
    """Return the chart of a table; None for one that is not drawn, or has nothing to draw."""
    columns = [column for column in table.columns if column.key in table.charted]
    values = [[_height_of(row.get(column.key), column) for column in columns] for row in table.rows]
    highest = max((value for row in values for value in row), default=0)
    if not highest:
        return None
    ceiling, slot = round_up(highest), WIDTH / len(table.rows)
    width = slot * GROUP_SHARE / len(columns)
    bars = []
    for place, row in enumerate(table.rows):
        begin = LEFT + slot * place + slot * (1 - GROUP_SHARE) / 2
        for series, column in enumerate(columns):
            value = values[place][series]
            if not value:
                continue
            height = max(1.0, (PLOT_BOTTOM - PLOT_TOP) * value / ceiling)
            title = f"{row[table.columns[0].key]}, {column.title}: {show(column, row)}"
            x, y = f"{begin + series * width:.3f}%", f"{PLOT_BOTTOM - height:.1f}"
            bars.append(Bar(x, y, f"{width:.3f}%", f"{height:.1f}", series % LOOKS, title))
    legend = [(series % LOOKS, column.title) for series, column in enumerate(columns)]
    return Chart(HEIGHT, bars, mark_axis(ceiling), label_rows(table), legend)


def unit_of(table: Table) -> str:
    """What the chart of this table shows."""
    column = next(column for column in table.columns if column.key in table.charted)
    return _("credits") if column.unit == Unit.MICROCREDITS else _("seconds")


def _height_of(value: float | None, column: Column) -> int:
    """A value as a whole number: microcredits, or microseconds."""
    if value is None:
        return 0
    return abs(int(value * MILLION)) if column.unit == Unit.SECONDS else abs(int(value))


def mark_axis(ceiling: int) -> list[Label]:
    """The end of an axis in millionths, its half and its zero."""
    middle = (PLOT_TOP + PLOT_BOTTOM) / 2
    marks = ((PLOT_TOP, ceiling), (middle, ceiling // 2), (PLOT_BOTTOM, 0))
    return [Label("0", f"{y:.1f}", _in_millions(amount) if amount else "") for y, amount in marks]


def _in_millions(amount: int) -> str:
    """Microcredits as credits, and microseconds as seconds, without zeros at the end."""
    written = Decimal(amount).scaleb(-6).normalize()
    exponent = written.as_tuple().exponent
    decimals = max(0, -exponent) if isinstance(exponent, int) else 0
    return number_format(written, decimals, force_grouping=True)


def label_rows(table: Table, left: float = LEFT) -> list[Label]:
    """The names of a few rows, in the middle of their bars."""
    last, y = len(table.rows) - 1, str(HEIGHT - 6)
    places = sorted({round(last * part / (MOST_LABELS - 1)) for part in range(MOST_LABELS)})
    slot = (100 - left) / (last + 1)
    labels = []
    for place in places:
        anchor = "end" if place == last and last else "start" if place == 0 and last else "middle"
        middle = {"start": left, "end": 100.0}.get(anchor, left + slot * (place + 0.5))
        labels.append(Label(f"{middle:.3f}%", y, str(table.rows[place][table.columns[0].key]), anchor))
    return labels
