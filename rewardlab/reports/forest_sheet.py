"""How a forest plot is drawn: panels of one set of rows and one range, side by side or one below the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rewardlab.printable import printable
from rewardlab.reports.charts import Difference, Panel, shortened
from rewardlab.reports.placing import axis_range, near_range
from rewardlab.reports.sheet import PALETTE, Sheet, new_sheet, ticked

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDE, NARROW = 1120, 360
"""Width on a page, and on a phone."""
ROW_STEP, GAP, RIGHT, TOP, BOTTOM = 21, 18, 12, 28, 38
"""Height of a row, room between panels, and around them."""
LETTER, BOLD = 5.9, 6.6
"""Width of a letter on the average, at 11 units; upper bounds for names, so that they do not meet the axes."""
PER_ROW = 4
LETTERS, NARROW_LETTERS, HEAD_LETTERS = 38, 21, 44
"""Letters that are shown of a method's name, on a phone, and of the name above a group."""
SIGN_COLOURS = {"better": "c0", "worse": "c1", "level": "ink", "missing": "soft"}


def forest_sheet(panels: Sequence[Panel], is_narrow: bool = False) -> Sheet:
    """Panels of one set of rows and one range; those at the left have the names of the rows."""
    rows = _rows([mark for mark in panels[0].marks if isinstance(mark, Difference)])
    letters = NARROW_LETTERS if is_narrow else LETTERS
    labels = [
        shortened(printable(each), HEAD_LETTERS) if isinstance(each, str) else shortened(printable(each.name), letters)
        for each in rows
    ]
    heads = [len(label) * BOLD for label, each in zip(labels, rows, strict=True) if isinstance(each, str)]
    names = [len(label) * LETTER for label, each in zip(labels, rows, strict=True) if not isinstance(each, str)]
    gutter, width = max([*names, *([] if is_narrow else heads)]) + 14, NARROW if is_narrow else WIDE
    columns = 1 if is_narrow else min(PER_ROW, len(panels))
    one = min(420.0, (width - gutter - RIGHT - GAP * (columns - 1)) / columns)
    height = TOP + BOTTOM + ROW_STEP * len(rows)
    total = gutter + columns * one + GAP * (columns - 1) + RIGHT
    sheet = new_sheet(total, height * -(-len(panels) // columns))
    marks = [mark for panel in panels for mark in panel.marks if isinstance(mark, Difference)]
    limits = axis_range([0.0, *near_range([(mark.low, mark.high) for mark in marks if mark.sign != "missing"])])
    for number, panel in enumerate(panels):
        left, top = gutter + number % columns * (one + GAP), number // columns * height
        axes = sheet.axes(left, top + TOP, one, ROW_STEP * len(rows))
        axes.set_xlim(*limits)
        _panel(sheet, axes, panel, labels if number % columns == 0 else None, gutter)
    return sheet


def _rows(marks: Sequence[Difference]) -> list[Difference | str]:
    """The rows of a forest plot; where there are several groups, each has its name above it."""
    several = len({mark.group for mark in marks}) > 1
    rows: list[Difference | str] = []
    for number, mark in enumerate(marks):
        if several and (number == 0 or marks[number - 1].group != mark.group):
            rows.append(mark.group)
        rows.append(mark)
    return rows


def _panel(sheet: Sheet, axes: Axes, panel: Panel, labels: Sequence[str] | None, gutter: float) -> None:
    """One panel; ``labels`` are the names of its rows, which stand to its left in ``gutter`` units."""
    from matplotlib.transforms import blended_transform_factory, offset_copy

    rows = _rows([mark for mark in panel.marks if isinstance(mark, Difference)])
    axes.set_ylim(len(rows), 0)
    axes.set_yticks([])
    ticked(axes, "xaxis", 5)
    axes.set_title(printable(panel.title), fontweight="bold" if panel.is_main else "normal")
    axes.set_xlabel(printable(panel.x_label), labelpad=3)
    axes.axvline(0, color=PALETTE["soft"], linewidth=1.2)
    beside = blended_transform_factory(axes.transAxes, axes.transData)
    for number, row in enumerate(rows):
        middle = number + 0.5
        at_start = offset_copy(beside, sheet.figure, x=-gutter + 4, units="points")
        if isinstance(row, str):
            if labels is not None:
                head = axes.text(0, middle, labels[number], transform=at_start, va="center", fontweight="bold")
                head.set_zorder(5)
                head.set_bbox({"facecolor": PALETTE["paper"], "edgecolor": "none", "pad": 1.5})
            continue
        if labels is not None:
            axes.text(0, middle, labels[number], transform=at_start, va="center", gid=sheet.of(row))
        _interval(sheet, axes, row, middle, 7 if panel.is_main else 5.5)


def _interval(sheet: Sheet, axes: Axes, row: Difference, middle: float, size: float) -> None:
    colour = PALETTE[SIGN_COLOURS[row.sign]]
    if row.sign == "missing":
        axes.text(0, middle, " not compared", va="center", color=colour, fontsize=10, gid=sheet.of(row))
        return
    lowest, highest = axes.get_xlim()
    if row.high < lowest or row.low > highest or not lowest < row.value < highest:
        _far_away(sheet, axes, row, middle, colour)
        return
    axes.hlines(middle, row.low, row.high, color=colour, linewidth=size / 3.5, gid=sheet.of(row))
    axes.plot(
        *([row.value], [middle]),
        marker="o" if row.sign == "level" else "s",
        markersize=size,
        color=colour,
        gid=sheet.of(row),
        markerfacecolor=PALETTE["paper"] if row.sign == "level" else colour,
    )


def _far_away(sheet: Sheet, axes: Axes, row: Difference, middle: float, colour: str) -> None:
    """A row that lies outside the axis: an arrow at its edge, and its numbers."""
    is_low = row.value < 0
    edge = axes.get_xlim()[0 if is_low else 1]
    (arrow,) = axes.plot([edge], [middle], color=colour, marker="<" if is_low else ">", markersize=7, clip_on=False)
    arrow.set(zorder=5, gid=sheet.of(row))
    numbers = f"{row.value:+.1f} [{row.low:+.1f}, {row.high:+.1f}]".replace("-", "−")
    label = axes.annotate(numbers, (edge, middle), xytext=(8 if is_low else -8, 0), textcoords="offset points")
    label.set(ha="left" if is_low else "right", va="center", color=colour, fontsize=10, gid=sheet.of(row))
