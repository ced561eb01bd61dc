"""Charts drawn on the server. These functions turn numbers into attributes of SVG elements; the template writes them.

Horizontal positions are percentages and vertical positions are pixels. So a chart fills its page from phone to desktop,
while letters and patterns keep their size. Attributes are text, because a template would localise numbers.
"""

from dataclasses import dataclass

from django.utils.formats import date_format
from django.utils.translation import gettext as _

from billing.reporting.usage import Usage
from billing.templatetags.money import format_credits

LOOKS = 6  # colours with patterns; they are in templates/billing/reporting/_chart.html and tally.css
PLOT_TOP, PLOT_BOTTOM, HEIGHT = 24, 196, 220
STEPS = (10, 12, 16, 20, 24, 30, 40, 50, 60, 80, 100)
BAR_SHARE = 0.74  # of a day's width


@dataclass(frozen=True, slots=True)
class Bar:
    """One model on one day."""

    x: str
    y: str
    width: str
    height: str
    look: int
    title: str


@dataclass(frozen=True, slots=True)
class Label:
    """A text beside an axis. `anchor` is SVG's text-anchor."""

    x: str
    y: str
    text: str
    anchor: str = "start"


@dataclass(frozen=True, slots=True)
class Chart:
    """What the template draws. `legend` is the look and the name of each series."""

    height: int
    bars: list[Bar]
    lines: list[Label]
    days: list[Label]
    legend: list[tuple[int, str]]


def draw_usage(usage: Usage) -> Chart:
    """Return a chart with one stacked bar for each day, the models in their order."""
    ceiling = round_up(max(day.total_microcredits for day in usage.days))
    slot = 100 / len(usage.days)
    bars: list[Bar] = []
    for index, day in enumerate(usage.days):
        bottom = float(PLOT_BOTTOM)
        for series, charge in enumerate(day.charged_microcredits):
            if not charge:
                continue
            height = max(1.0, (PLOT_BOTTOM - PLOT_TOP) * charge / ceiling)
            bottom -= height
            x, width = slot * (index + (1 - BAR_SHARE) / 2), slot * BAR_SHARE
            title = _("{day}, {model}: {charge} credits").format(
                day=day.day.isoformat(), model=usage.models[series].model_key, charge=format_credits(charge)
            )
            bars.append(Bar(f"{x:.3f}%", f"{bottom:.2f}", f"{width:.3f}%", f"{height:.2f}", series % LOOKS, title))
    legend = [(series % LOOKS, model.model_key) for series, model in enumerate(usage.models)]
    return Chart(HEIGHT, bars, _lines(ceiling), _days(usage), legend)


def round_up(microcredits: int) -> int:
    """Return the end of an axis for this amount, at or above it.

    Both the end and its half have at most two significant digits.
    """
    unit = 1
    while unit * 100 < microcredits:
        unit *= 10
    return next(unit * step for step in STEPS if unit * step >= microcredits)


def _lines(ceiling: int) -> list[Label]:
    middle = (PLOT_TOP + PLOT_BOTTOM) / 2
    marks = ((PLOT_TOP, ceiling), (middle, ceiling // 2), (PLOT_BOTTOM, 0))
    return [Label("0", f"{y:.1f}", format_credits(amount) if amount else "") for y, amount in marks]


def _days(usage: Usage) -> list[Label]:
    """The first, the middle and the last day."""
    last = len(usage.days) - 1
    shown = (
        (0, "0", "start"),
        (last // 2, f"{100 * (last // 2 + 0.5) / (last + 1):.3f}%", "middle"),
        (last, "100%", "end"),
    )
    y = str(HEIGHT - 5)
    return [Label(x, y, date_format(usage.days[index].day, "j M"), anchor) for index, x, anchor in shown]
