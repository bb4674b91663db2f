"""How panels of lines, dots and bars are drawn, and the legend below them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rewardlab.printable import printable
from rewardlab.reports.charts import OTHER, Bar, Dot, Line, Panel, shortened
from rewardlab.reports.placing import Box, axis_range, free_place, overlapping
from rewardlab.reports.sheet import PALETTE, Sheet, new_sheet, ticked

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, HEIGHT = 380, 240
LEFT, RIGHT, TOP, BOTTOM = 48, 12, 28, 38
BAR_LEFT, BAR_RIGHT, BAR_STEP = 150, 42, 24
LABEL_LETTERS = 24
"""Letters that are shown of the name of a bar or a dot."""
LETTER = 5.4
"""Width of a letter of a dot's name on the average: an upper bound."""
MARKERS = "osD^v"
"""Of dots, by colour; the page's legend has them as ``charts.GLYPHS``."""


def _height(panel: Panel) -> int:
    bars = sum(isinstance(mark, Bar) for mark in panel.marks)
    return TOP + BOTTOM + bars * BAR_STEP if bars else HEIGHT


def panels_sheet(panels: Sequence[Panel], per_row: int, legend: Sequence[tuple[str, int]]) -> Sheet:
    """Panels in rows, and the legend below them."""
    columns, height = min(per_row, len(panels)), max(map(_height, panels))
    rows, lines = -(-len(panels) // columns), -(-len(legend) // columns)
    below = 18 * lines + 10 if legend else 0
    sheet = new_sheet(columns * WIDTH, rows * height + below)
    has_dots = any(isinstance(mark, Dot) for panel in panels for mark in panel.marks)
    for number, panel in enumerate(panels):
        left, top = number % columns * WIDTH, number // columns * height
        is_bars = any(isinstance(mark, Bar) for mark in panel.marks)
        sides = (BAR_LEFT, BAR_RIGHT) if is_bars else (LEFT, RIGHT)
        axes = sheet.axes(left + sides[0], top + TOP, WIDTH - sum(sides), _height(panel) - TOP - BOTTOM)
        axes.set_title(printable(panel.title), x=(WIDTH / 2 - sides[0]) / (WIDTH - sum(sides)))
        axes.set_xlabel(printable(panel.x_label), labelpad=3)
        (_bars if is_bars else _plot)(sheet, axes, panel)
    for number, (name, colour) in enumerate(legend):
        place = (LEFT + number % columns * WIDTH, rows * height + 8 + 18 * (number // columns))
        _key(sheet, place, name, colour, MARKERS[colour % len(MARKERS)] if has_dots else "s")
    return sheet


def _key(sheet: Sheet, place: tuple[float, float], name: str, colour: int, marker: str) -> None:
    """An entry of the legend."""
    from matplotlib.lines import Line2D

    x, y = place[0] / sheet.width, 1 - place[1] / sheet.height
    key = Line2D([x], [y], marker=marker, markersize=9, color=_colour(colour), linestyle="", markeredgewidth=0)
    sheet.figure.add_artist(key)
    sheet.figure.text(x + 12 / sheet.width, y, printable(name), va="center")


def _colour(number: int) -> str:
    return PALETTE[f"c{number}"]


def _plot(sheet: Sheet, axes: Axes, panel: Panel) -> None:
    """Lines or dots on two axes of numbers."""
    lines = [mark for mark in panel.marks if isinstance(mark, Line)]
    dots = [mark for mark in panel.marks if isinstance(mark, Dot)]
    axes.set_xlim(*axis_range([*(x for line in lines for x in line.x), *(dot.x for dot in dots)]))
    values = [value for line in lines for value in (*line.y, *line.low, *line.high)]
    axes.set_ylim(*axis_range([*values, *(end for dot in dots for end in (dot.low, dot.high))], from_zero=True))
    ticked(axes, "xaxis", 5)
    ticked(axes, "yaxis", 5)
    for line in sorted(lines, key=lambda line: line.colour != OTHER):  # grey lines lie behind the others
        _line(sheet, axes, line)
    _dots(sheet, axes, dots)


def _line(sheet: Sheet, axes: Axes, line: Line) -> None:
    colour = _colour(line.colour)
    if line.low:
        axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.18, linewidth=0, gid=sheet.of(line))
    axes.plot(line.x, line.y, color=colour, linewidth=0.9 if line.is_thin else 1.8, gid=sheet.of(line))


def _dots(sheet: Sheet, axes: Axes, dots: Sequence[Dot]) -> None:
    """Points where their numbers are, open where they overlap, with names where there is room for them."""
    places = [tuple(axes.transData.transform((dot.x, dot.y))) for dot in dots]
    ends = [[axes.transData.transform((dot.x, end))[1] for end in (dot.low, dot.high)] for dot in dots]
    boxes = [Box(x - 6, y - 6, 12, 12) for x, y in places]
    whiskers = [Box(x - 1.5, low, 3, high - low) for (x, _), (low, high) in zip(places, ends, strict=True)]
    taken = [*boxes, *whiskers]
    frame = axes.bbox
    room = Box(frame.x0, frame.y0, frame.width, frame.height)
    for dot, place, box in zip(dots, places, boxes, strict=True):
        colour, is_open = _colour(dot.colour), sum(overlapping(box, other) for other in boxes) > 1
        axes.vlines(dot.x, dot.low, dot.high, color=colour, linewidth=1.6, gid=sheet.of(dot))
        axes.plot(
            *([dot.x], [dot.y]),
            marker=MARKERS[dot.colour % len(MARKERS)],
            markersize=9,
            linestyle="",
            gid=sheet.of(dot),
            markerfacecolor="none" if is_open else colour,
            markeredgecolor=colour,
            markeredgewidth=1.6,
        )
        label = shortened(printable(dot.name), LABEL_LETTERS)
        free = free_place((float(place[0]), float(place[1])), len(label) * LETTER, 10, taken, room)
        if free is not None:
            taken.append(free)
            x, y = axes.transData.inverted().transform((free.left, free.bottom + free.height / 2))
            axes.text(x, y, label, fontsize=10, va="center", gid=sheet.of(dot))


def _bars(sheet: Sheet, axes: Axes, panel: Panel) -> None:
    bars = [mark for mark in panel.marks if isinstance(mark, Bar)]
    axes.set_xlim(0, 1)
    axes.set_ylim(len(bars), 0)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "50", "", "100"])
    axes.set_yticks([])
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    for number, bar in enumerate(bars):
        done, middle = 0.0, number + 0.5
        for share, colour in bar.parts:
            axes.barh(middle, share, height=0.66, left=done, color=_colour(colour))[0].set_gid(sheet.of(bar))
            done += share
        if bar.interval is not None:
            ends = [min(1.0, max(0.0, end)) for end in bar.interval]
            axes.plot(ends, [middle, middle], color=PALETTE["ink"], linewidth=1.6, gid=sheet.of(bar))
        label = shortened(printable(bar.label), LABEL_LETTERS)
        axes.text(-0.03, middle, label, ha="right", va="center", gid=sheet.of(bar))
        axes.text(1.02, middle, printable(bar.text), va="center", gid=sheet.of(bar))
