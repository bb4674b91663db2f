"""The comparison as a grid of printed cells, which Markdown, LaTeX, terminal and HTML then show each in its way.

A value times 100, its standard deviation over seeds and its 95 % interval; best and second of a
column are marked.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from rewardlab.comparison.conventions import metric_title
from rewardlab.comparison.evaluations import Position
from rewardlab.comparison.numbers import interval_text, shown_value
from rewardlab.comparison.table import AVERAGE, COSTS, ComparisonTable, Mark, Row, headline
from rewardlab.printable import printable

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
    1 %; the accuracy at step 0 where a PPO row has it.
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
    names = _names(table, ("method", "model", "format", "start", "reward") if with_origins else ("method",))
    rows = []
    for number, row in enumerate(table.rows):
        cells = [Cell(names[number], sources=all_sources(row))]
        cells += [Cell(str(getattr(row.key, name)) or MISSING) for name in origins]
        cells += [_share_cell(row.start_accuracy) for _ in starts]
        for decoding in decodings:
            for position in ((column, decoding) for column in table.columns):
                place = (number, position)
                cells.append(score_cell(row, position, table.marks.get(place, ""), sign_of(table, place)))
            cells += [_share_cell(mean_share(table, row, decoding, name)) for name in trouble]
        costs = (str(len(row.seeds)), *(f"{row.cost[name]:.0f}" for name in COSTS)) if with_origins else ()
        rows.append([*cells, *(Cell(number, sources=all_sources(row)) for number in costs)])
    return Grid(headings, rows)


def compact(table: ComparisonTable) -> tuple[Grid, frozenset[int]]:
    """The same columns with the answer first, the highest value on top; and the places of columns shown on demand.

    Shown are method, main column under each decoding, the last one first, its shares of malformed and cut answers,
    costs and seeds. On demand are the other columns and what each row was made from.
    """
    shown, first = grid(table), headline(table)
    main = [
        next(n for n, head in enumerate(shown.headings) if (head.title, head.group) == (_column_title(table, first), d))
        for d in reversed(table.decodings)
    ]
    last = table.decodings[-1]
    troubles = [n for n, head in enumerate(shown.headings) if head.group == last and head.title in TROUBLE.values()]
    costs = [n for n, head in enumerate(shown.headings) if head.title in {name.replace("_", " ") for name in COSTS}]
    seeds = [n for n, head in enumerate(shown.headings) if head.title == "seeds"]
    first_ones = [0, *main, *troubles, *costs, *seeds]
    order = [*first_ones, *(n for n in range(len(shown.headings)) if n not in first_ones)]
    values = [row.scores.get((first, table.decodings[-1])) for row in table.rows]
    ranks = sorted(range(len(values)), key=lambda n: -math.inf if (v := values[n]) is None else v.value, reverse=True)
    rows = [[shown.rows[number][place] for place in order] for number in ranks]
    named = [
        replace(each, title=f"{each.title}, {each.group}" if each.group else each.title, group="")
        for each in shown.headings
    ]
    ordered = Grid([named[place] for place in order], rows)
    return ordered, frozenset(range(len(first_ones), len(order)))


def _names(table: ComparisonTable, shown: Sequence[str]) -> list[str]:
    """The rows' methods; a row's own name where no column ``shown`` distinguishes it from another of that method."""
    looks = [tuple(getattr(row.key, name) for name in shown) for row in table.rows]
    alike = Counter(looks)
    return [row.key.method if alike[look] == 1 else row.name for row, look in zip(table.rows, looks, strict=True)]


STEP_0 = "accuracy at step 0"
"""Heading of PPO's own accuracy before its first update."""


def is_troubled(table: ComparisonTable) -> bool:
    """True when more than 1 % of some row's answers are malformed, or cut at their budget, in some column."""
    places = [
        (row, (column, decoding)) for row in table.rows for column in table.metrics for decoding in table.decodings
    ]
    return any(row.summaries.get(place, {}).get(name, 0.0) > SHOWN_FROM for row, place in places for name in TROUBLE)


def mean_share(table: ComparisonTable, row: Row, decoding: str, name: str) -> float | None:
    """``malformed`` or ``unfinished`` of a row under one decoding, mean over its columns; None without one."""
    summaries = [row.summaries.get((column, decoding), {}) for column in table.metrics]
    known = [each[name] for each in summaries if name in each]
    return fmean(known) if known else None


def _share_cell(value: float | None) -> Cell:
    return Cell(MISSING if value is None else shown_value(value))


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
