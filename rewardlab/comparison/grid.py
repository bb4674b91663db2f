"""The comparison table as text, in Markdown. LaTeX is ``latex.py``, the terminal ``terminal.py``, CSV ``table.frame``
written out.

All show the same grid: a value times 100, its standard deviation over seeds and its 95 % interval, the best
value of a column bold and the second underlined.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from rewardlab.comparison.cells import Position
from rewardlab.comparison.conventions import metric_title
from rewardlab.comparison.method_names import policies_line
from rewardlab.comparison.numbers import interval_text, shown_value
from rewardlab.comparison.seeds import seeds_notes
from rewardlab.comparison.table import AVERAGE, COSTS, ComparisonTable, Mark, Row, marks, mean_summary
from rewardlab.comparison.unread import unread_lines
from rewardlab.printable import markdown_address, markdown_cell, markdown_code, markdown_text, printable

MISSING = "–"
TIED = "≈"
UNTESTED = "?"
OTHER_FORMAT = "†"
SIGNS: Mapping[str, str] = {
    TIED: "not significantly different from the best",
    UNTESTED: "not compared with the best, for want of common seeds or test items",
    OTHER_FORMAT: "in another answer format than the best, so the difference is not of the method alone",
}
"""What stands behind a value, and what it means."""
TROUBLE = {"malformed": "malformed", "unfinished": "cut"}
"""Shares of answers that stand beside the scores once one of them is above :data:`SHOWN_FROM`, and their titles."""
SHOWN_FROM = 0.01
FEW_SEEDS = 3
"""Up to so many seeds, the variance between them is hardly known."""


@dataclass(frozen=True, slots=True)
class Source:
    """A run folder that a number comes from, and what that run alone says, as printed."""

    path: Path
    value: str = ""


@dataclass(frozen=True, slots=True)
class Cell:
    """One printed cell: the value, an interval in small print, the value's mark, and its spread over seeds.

    Attributes:
        sign: Some of :data:`SIGNS`, one letter each, or nothing.
        sources: The runs behind it; the HTML page links to them.
        href: Where its text leads, a relative path.
        is_code: Printed as code.
    """

    text: str
    detail: str = ""
    mark: Mark = ""
    spread: str = ""
    sign: str = ""
    sources: Sequence[Source] = ()
    href: str = ""
    is_code: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", printable(self.text))


@dataclass(frozen=True, slots=True)
class Heading:
    """A column's heading and the group it stands under (a decoding, or nothing)."""

    title: str
    group: str = ""
    is_number: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "title", printable(self.title))


@dataclass(frozen=True, slots=True)
class Grid:
    """A table ready to print; every row has as many cells as there are headings."""

    headings: Sequence[Heading]
    rows: Sequence[Sequence[Cell]]


def grid(table: ComparisonTable, *, with_scores: bool = True, with_origins: bool = True) -> Grid:
    """The comparison as headings and cells: method, its origin (model, format, start, reward), scores, seeds and cost.

    Model and answer format stand there where rows differ in them; shares of malformed and cut answers once one is above
    1 %; the accuracy at step 0 where a PPO row knows it.
    """
    several = [name for name in ("model", "format") if len({getattr(row.key, name) for row in table.rows}) > 1]
    origins = [*several, "start", "reward"] if with_origins else []
    starts = [STEP_0] if with_origins and any(row.start_accuracy is not None for row in table.rows) else []
    decodings = table.decodings if with_scores else ()
    trouble = list(TROUBLE) if is_troubled(table) else []
    headings = [*(Heading(title, is_number=False) for title in ["method", *origins]), *map(Heading, starts)]
    for decoding in decodings:
        headings += [Heading(_column_title(table, column), decoding) for column in table.columns]
        headings += [Heading(TROUBLE[name], decoding) for name in trouble]
    headings += [Heading(name.replace("_", " ")) for name in ("seeds", *COSTS) if with_origins]
    marked = marks(table)
    rows = []
    for number, row in enumerate(table.rows):
        cells = [Cell(_name(table, row, with_origins=with_origins), sources=all_sources(row))]
        cells += [Cell(str(getattr(row.key, name)) or MISSING) for name in origins]
        cells += [_share_cell(row.start_accuracy) for _ in starts]
        for decoding in decodings:
            for position in ((column, decoding) for column in table.columns):
                place = (number, position)
                cells.append(score_cell(row, position, marked.get(place, ""), sign_of(table, place)))
            cells += [_share_cell(mean_share(table, row, decoding, name)) for name in trouble]
        rows.append([*cells, *(_cost_cells(row) if with_origins else [])])
    return Grid(headings, rows)


def _name(table: ComparisonTable, row: Row, *, with_origins: bool) -> str:
    """A row's method; its own name where no column beside it tells it from another row of that method."""
    shown = ("method", "model", "format", "start", "reward") if with_origins else ("method",)
    alike = [other for other in table.rows if all(getattr(other.key, n) == getattr(row.key, n) for n in shown)]
    return row.key.method if len(alike) == 1 else row.name


STEP_0 = "accuracy at step 0"
"""Heading of PPO's own accuracy before its first update."""


def is_troubled(table: ComparisonTable) -> bool:
    """True when more than 1 % of some row's answers are malformed, or cut at their budget, in some column."""
    places = [
        (row, (column, decoding)) for row in table.rows for column in table.metrics for decoding in table.decodings
    ]
    found = [mean_summary(row, position, name) for row, position in places for name in TROUBLE]
    return any(value is not None and value > SHOWN_FROM for value in found)


def mean_share(table: ComparisonTable, row: Row, decoding: str, name: str) -> float | None:
    """``malformed`` or ``unfinished`` of a row under one decoding, mean over its columns; None without one."""
    found = [mean_summary(row, (column, decoding), name) for column in table.metrics]
    known = [value for value in found if value is not None]
    return fmean(known) if known else None


def _share_cell(value: float | None) -> Cell:
    return Cell(MISSING if value is None else shown_value(value))


def notes(table: ComparisonTable, *, is_brief: bool = False, compares_formats: bool = False) -> list[str]:
    """What a reader must know to read the numbers, one sentence a line.

    Args:
        table: The comparison.
        is_brief: It is shown without the spread over seeds and without the accuracy at step 0.
        compares_formats: Differences stand beside the values, some of them between two answer formats.
    """
    scores = [score for row in table.rows for score in row.scores.values()]
    signs = _signs(table)
    lines = [
        *unread_lines(table),
        "Values times 100, each with its own 95 % interval; best bold, second underlined (equal as printed, equal in "
        "rank; none where all are equal or the best is 0.0).",
    ]
    if TIED in signs:
        lines.append(
            f"{TIED}: {SIGNS[TIED]}, which does not say that they are equal; paired by item and seed, p >= 0.05 after "
            "Holm's correction over all pairs of rows in the table. The best one was picked by looking at the table, "
            "so this asks for more than a difference to a rival that was named before."
        )
    if UNTESTED in signs:
        lines.append(f"{UNTESTED}: {SIGNS[UNTESTED]}; whether it is worse is not known.")
    if OTHER_FORMAT in signs or compares_formats:
        rival = ", or than the method it is compared with," if compares_formats else ","
        told = SIGNS[OTHER_FORMAT].replace(",", rival, 1)
        lines.append(f"{OTHER_FORMAT}: {told}; such a difference tests no claim.")
    if is_troubled(table):
        lines.append(
            "Malformed: share of answers that could not be read; cut: share that ended at their budget of tokens; "
            "times 100, mean over columns."
        )
    if not is_brief and any(row.start_accuracy is not None for row in table.rows):
        lines.append(
            "Accuracy at step 0: of PPO's policy before its first update, in the row's own answer format, greedy on "
            "validation rows, times 100."
        )
    if any(score.basis == "seeds and items" for score in scores):
        mean = "mean over seeds" if is_brief else "mean ± standard deviation over seeds"
        lines.append(f"Two seeds or more: {mean}, interval over new seeds and new test items.")
    lines += [
        f"{few} seeds say little: the variance between them is hardly known, so intervals are wide, and few "
        "differences can be significant; five seeds say more."
        for few in sorted({score.seeds for score in scores if 1 < score.seeds <= FEW_SEEDS})
    ]
    if any(score.basis == "items" for score in scores):
        lines.append("One seed: the interval covers test items only, not training seeds.")
    lines.append(
        f"Convention {table.convention}; cost per seed, gold labels as read in training and "
        "annotation, device seconds (of a CPU its processor time)."
    )
    lines += seeds_notes({row.name: {run.seed: run.data_seed for run in row.runs} for row in table.rows})
    policies = policies_line([row.key for row in table.rows], {row.key: row.name for row in table.rows})
    lines += [policies] if policies else []
    aside = [column for column in table.metrics if column not in table.averaged]
    if aside and AVERAGE in table.columns:
        lines.append(f"The average is without {', '.join(aside)}, as published.")
    return [*lines, *(f"Note: {warning}" for warning in table.warnings)]


def _signs(table: ComparisonTable) -> set[str]:
    """The signs that some value has; the best one has none."""
    marked = marks(table)
    places = (place for place in table.ties | table.untested | table.other_format if marked.get(place) != "best")
    return {sign for place in places for sign in sign_of(table, place)}


def to_markdown(table: ComparisonTable) -> str:
    """The table and its notes in GitHub's Markdown."""
    return "\n".join([markdown_grid(grid(table)), "", *(f"{markdown_text(line)}  " for line in notes(table)), ""])


def markdown_grid(shown: Grid) -> str:
    """A Markdown table; groups stand in front of their columns' titles."""
    titles = [f"{heading.group} {heading.title}".strip() for heading in shown.headings]
    rules = ["---:" if heading.is_number else ":---" for heading in shown.headings]
    body = [[_markdown_cell(cell) for cell in row] for row in shown.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in ([markdown_cell(title) for title in titles], rules, *body))


def _column_title(table: ComparisonTable, column: str) -> str:
    return column if column == AVERAGE else f"{column} {metric_title(table.metrics[column])}"


def sign_of(table: ComparisonTable, place: tuple[int, Position]) -> str:
    """What stands behind the value of (row number, position)."""
    sign = TIED if place in table.ties else UNTESTED if place in table.untested else ""
    return sign + (OTHER_FORMAT if place in table.other_format else "")


def score_cell(row: Row, position: Position, mark: Mark, sign: str) -> Cell:
    """A row's value at one position with interval and spread; a dash where it has none."""
    score = row.scores.get(position)
    if score is None:
        return Cell(MISSING)
    spread = "" if score.sd is None else f" ± {shown_value(score.sd)}"
    shown = "" if mark == "best" else sign
    return Cell(shown_value(score.value), interval_text(score), mark, spread, shown, sources_at(row, position))


def all_sources(row: Row) -> list[Source]:
    """All evaluations of a method."""
    return [Source(run.path) for run in row.runs]


def sources_at(row: Row, position: Position) -> list[Source]:
    """The evaluations behind a row's value at one position, each with the value of its seed."""
    if position[0] == AVERAGE:
        return all_sources(row)
    used = {run.seed: run for run in row.runs if position in run.cells}
    return [Source(run.path, shown_value(row.by_seed[position][seed])) for seed, run in sorted(used.items())]


def _cost_cells(row: Row) -> list[Cell]:
    numbers = (str(len(row.seeds)), *(f"{row.cost[name]:.0f}" for name in COSTS))
    return [Cell(number, sources=all_sources(row)) for number in numbers]


def _markdown_cell(cell: Cell) -> str:
    text = markdown_code(cell.text) if cell.is_code else markdown_cell(cell.text)
    text = f"[{text}](<{markdown_address(cell.href)}>)" if cell.href else text
    marked = {"best": f"**{text}**", "second": f"<u>{text}</u>"}.get(cell.mark, text)
    return f"{marked}{cell.sign}{cell.spread} {cell.detail}".strip()
