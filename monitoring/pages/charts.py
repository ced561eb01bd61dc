"""Draws a line of figures over time with its limit, as attributes of SVG elements that the template writes.

The plot stretches with the page; words and strokes do not. Attributes are text, because a template would localise
numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

HEIGHT, TOP, BOTTOM = 192, 18, 168
LEFT_SHARE = 80  # percent of the width that the plot takes; words stand beside it
TICKS = 4
ROUND = (1, 2, 2.5, 5, 10)
LEAST_FIGURES = 2


@dataclass(frozen=True, slots=True)
class Mark:
    """A word at a place: x in percent of the width, y in pixels. `anchor` is SVG's text-anchor."""

    x: str
    y: str
    text: str
    anchor: str = "start"


@dataclass(frozen=True, slots=True)
class Chart:
    """What the template draws. The line lies in a box of 100 by 100."""

    line: str
    area: str
    grid: list[Mark]
    times: list[Mark]
    now: Mark
    limit: Mark | None
    event: Mark | None
    rows: list[tuple[datetime, float]]


def draw(figures: Sequence[tuple[datetime, float]], *, limit: float | None, opened_at: datetime | None) -> Chart | None:
    """A chart of these figures, in the order of their times. None if there are too few for a line."""
    if len(figures) < LEAST_FIGURES or figures[0][0] == figures[-1][0]:
        return None
    begin, end = figures[0][0], figures[-1][0]
    ceiling = _ceiling(max(*(value for _at, value in figures), limit or 0))

    def across(at: datetime) -> float:
        return 100 * ((at - begin) / (end - begin))

    def down(value: float) -> float:
        return 100 * (1 - value / ceiling)

    points = [f"{across(at):.1f} {down(value):.1f}" for at, value in figures]
    line = "M" + "L".join(points)
    steps = [figures[round(index * (len(figures) - 1) / (TICKS - 1))] for index in range(TICKS)]
    last = figures[-1][1]
    opened = across(opened_at) if opened_at and begin <= opened_at <= end else None
    return Chart(
        line=line,
        area=f"{line}V100H0z",
        grid=[Mark("0%", _y(down(ceiling * part / 3)), f"{ceiling * part / 3:g}") for part in (1, 2, 3)],
        times=[Mark(_x(across(at)), "186", f"{at:%H:%M}", _anchor(across(at))) for at, _value in _unique(steps)],
        now=Mark(_x(101), _y(down(last)), f"{last:g}"),
        limit=None if limit is None else Mark(_x(101), _y(down(limit)), f"{limit:g}"),
        event=None
        if opened is None or opened_at is None
        else Mark(_x(opened), "4", f"{opened_at:%H:%M}", _anchor(opened)),
        rows=_unique([figures[round(index * (len(figures) - 1) / 11)] for index in range(12)]),
    )


def _unique(rows: Sequence[tuple[datetime, float]]) -> list[tuple[datetime, float]]:
    return list(dict(rows).items())


def _ceiling(most: float) -> float:
    """Three times a round number, at or above it."""
    third, unit = max(most, 0.03) / 3, 0.01
    while unit * ROUND[-1] < third:
        unit *= 10
    return 3 * next(unit * step for step in ROUND if unit * step >= third - 1e-9)


def _x(percent: float) -> str:
    return f"{percent * LEFT_SHARE / 100:.1f}%"


def _y(percent: float) -> str:
    return f"{TOP + (BOTTOM - TOP) * percent / 100:.1f}"


def _anchor(percent: float) -> str:
    return "start" if percent < 15 else "end" if percent > 85 else "middle"
