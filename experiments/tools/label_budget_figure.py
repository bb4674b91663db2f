"""The figure of study 1: accuracy over labels read, and below it each method less SFT on the same labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.tools.label_budget_study import DECODING, Budget, Difference
from rewardlab.comparison.differences import BASELINE
from rewardlab.comparison.table import AVERAGE, Row
from rewardlab.reports.drawing import write_sheet
from rewardlab.reports.sheet import PALETTE, Sheet, matplotlib_style, new_sheet, ticked

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAME = "label-budget"
WIDTH, LEFT, RIGHT, GAP = 860, 180, 12, 14
HEAD, UPPER, LOWER_TOP, ROW_STEP, BOTTOM = 34, 284, 364, 24, 48
KEY_WIDTH = 260
MARKERS = "osD^vPX*"


def draw(study: Sequence[Budget], found: Sequence[Difference], file: Path) -> Path:
    """Draw it as SVG, PDF or PNG, by the file's ending.

    Above: average accuracy over gold labels read, with each value's own interval. SFT at its budgets is a line; what
    reads further labels is a point for each budget, tied to the SFT model that it began from. Below: each method with
    SFT's labels less SFT, a column a budget: mean with corrected interval, and a dot a seed, hollow where the SFT model
    itself was evaluated.
    """
    names = list(dict.fromkeys(row.name for budget in study for row in budget.table.rows if budget.is_rival(row)))
    with matplotlib_style(NAME):
        sheet = new_sheet(WIDTH, LOWER_TOP + ROW_STEP * len(names) + BOTTOM)
        sheet.figure.text(12 / WIDTH, 1 - 20 / sheet.height, headline(found), fontsize=13, fontweight="bold")
        upper = sheet.axes(60, HEAD + 30, WIDTH - 60 - KEY_WIDTH, UPPER - HEAD - 30)
        _accuracies(sheet, upper, study)
        _strips(sheet, study, found, names)
        return write_sheet(sheet, file, f"Accuracy over gold labels read, and {len(names)} methods less {BASELINE}")


def headline(found: Sequence[Difference]) -> str:
    """The answer in one line: what was shown to be more accurate than SFT on the same labels, with its budgets."""
    better = [each for each in found if each.budget.is_rival(each.row) and each.is_better]
    budgets = {
        name: ", ".join(str(each.budget.labels) for each in better if each.row.name == name)
        for name in dict.fromkeys(each.row.name for each in better)
    }
    told = "; ".join(f"{name} ({labels} labels)" for name, labels in budgets.items()) or "no method"
    return f"Shown to be more accurate than {BASELINE} on the same labels: {told}"


def _accuracies(sheet: Sheet, axes: Axes, study: Sequence[Budget]) -> None:
    """Accuracy over labels read, of all that are no rival of SFT with rationales: SFT, and what reads more labels."""
    from matplotlib.ticker import FixedLocator, NullLocator

    axes.set_xscale("log")
    axes.set_title("average accuracy, greedy, with 95 % intervals", loc="left")
    axes.set_xlabel("gold labels read, a task")
    names = [
        name
        for name in dict.fromkeys(row.name for budget in study for row in budget.table.rows)
        if not any(budget.is_rival(row) for budget in study for row in budget.table.rows if row.name == name)
    ]
    for number, name in enumerate(names):
        points = [(budget, row) for budget in study for row in budget.table.rows if row.name == name]
        _line(axes, points, number)
        _key(sheet, number, name)
    told = f"dotted: from {BASELINE} to the\nsame budget with further labels"
    place = (WIDTH - KEY_WIDTH + 14) / sheet.width, 1 - (HEAD + 52 + 24 * len(names)) / sheet.height
    sheet.figure.text(*place, told, va="top", fontsize=9, color=PALETTE["soft"])
    ticks = sorted({round(budget.labels_of(row)) for budget in study for row in budget.table.rows})
    budgets = [str(tick) if tick in {budget.labels for budget in study} else "" for tick in ticks]
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.set_xticks(ticks, budgets)


def _line(axes: Axes, points: Sequence[tuple[Budget, Row]], number: int) -> None:
    """A method: joined over budgets, or, where it reads more labels than its budget, tied to its start at each."""
    colour, shift = PALETTE[f"c{number}"], 1 + 0.015 * (number % 2 - 0.5)
    x = [budget.labels_of(row) * shift for budget, row in points]
    scores = [row.scores[AVERAGE, DECODING] for _, row in points]
    joined = not any(budget.reads_more(row) for budget, row in points)
    axes.vlines(x, [100 * s.low for s in scores], [100 * s.high for s in scores], color=colour, linewidth=1.2)
    style = "-" if joined else ""
    axes.plot(x, [100 * s.value for s in scores], color=colour, marker=MARKERS[number], linestyle=style, markersize=6)
    for (budget, _), end, score in zip(points, x, scores, strict=True):
        if not joined:
            begin = 100 * budget.start.scores[AVERAGE, DECODING].value
            axes.plot([budget.labels, end], [begin, 100 * score.value], color=colour, linewidth=0.8, linestyle=":")


def _key(sheet: Sheet, number: int, name: str) -> None:
    """An entry of the legend, at the right of the upper panel."""
    from matplotlib.lines import Line2D

    x, y = (WIDTH - KEY_WIDTH + 14) / sheet.width, 1 - (HEAD + 46 + 24 * number) / sheet.height
    sheet.figure.add_artist(Line2D([x], [y], color=PALETTE[f"c{number}"], marker=MARKERS[number], linestyle=""))
    sheet.figure.text(x + 10 / sheet.width, y, name, va="center", fontsize=10)


def _strips(sheet: Sheet, study: Sequence[Budget], found: Sequence[Difference], names: Sequence[str]) -> None:
    """A column a budget, a line a method with the labels of SFT with rationales."""
    shown = [each for each in found if each.budget.is_rival(each.row)]
    ends = [end for each in shown for end in (each.comparison.estimate.low, each.comparison.estimate.high)]
    one = (WIDTH - LEFT - RIGHT - GAP * (len(study) - 1)) / len(study)
    for number, budget in enumerate(study):
        axes = sheet.axes(LEFT + number * (one + GAP), LOWER_TOP, one, ROW_STEP * len(names))
        axes.set_title(f"{budget.labels} labels a task")
        axes.set_xlim(100 * min(*ends, 0) - 0.5, 100 * max(*ends, 0) + 0.5)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_yticks(range(len(names)), names if number == 0 else [""] * len(names))
        axes.axvline(0, color=PALETTE["soft"], linewidth=1)
        ticked(axes, "xaxis", 4)
        for each in shown:
            if each.budget is budget:
                _strip(axes, each, names.index(each.row.name))
    middle = (LEFT + (WIDTH - LEFT - RIGHT) / 2) / sheet.width
    told = f"points minus {BASELINE}, corrected intervals; a dot a seed, hollow: the SFT model itself"
    sheet.figure.text(middle, 12 / sheet.height, told, ha="center")


def _strip(axes: Axes, difference: Difference, line: int) -> None:
    """Mean with interval, and the seeds."""
    size = difference.comparison.estimate
    colour = PALETTE["ink" if not difference.is_clear else "c0" if size.value > 0 else "c1"]
    axes.hlines(line, 100 * size.low, 100 * size.high, color=colour, linewidth=1.6)
    axes.plot([100 * size.value], [line], color=colour, marker="s", markersize=5, linestyle="")
    policies = difference.budget.policies(difference.row)
    for seed, value in difference.budget.by_seed(difference.row, difference.base).items():
        kept = seed in policies and policies[seed].is_start
        face = PALETTE["paper"] if kept else PALETTE["c10"]
        axes.plot([100 * value], [line + 0.28], "o", markersize=3.6, color=PALETTE["soft"], markerfacecolor=face)
