"""The sections on differences: between methods, in other measures, and how much of a gain is sharpening."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rewardlab.claims.rivals import MeasureGain, measures_grid, measures_note, told_of
from rewardlab.comparison.difference_text import (
    EXPLAINED,
    differences_grid,
    gain_sources,
    in_short,
    p_value_note,
)
from rewardlab.comparison.differences import Split, find_baseline, splits
from rewardlab.comparison.grid import Cell, Grid, Heading, Source, all_sources
from rewardlab.comparison.numbers import points, points_interval
from rewardlab.comparison.statistics import Estimate
from rewardlab.comparison.table import Row, headline
from rewardlab.errors import InputError
from rewardlab.reports.blocks import Block, Notes, Sentences, Table, Text, Told
from rewardlab.reports.report import Report

DIFFERENCES = "Differences between methods"
MEASURES = "Other measures, against every rival"


def difference_blocks(report: Report) -> list[Block]:
    if not report.gains:
        return [Text("There is no other method to compare with.")]
    short = [
        Told(line, [source for gain in gains for source in gain_sources(gain, report.rows)])
        for line, gains in in_short(report.gains, headline(report.table))
    ]
    note = Text(f"Differences are paired by item and seed. {p_value_note(report.gains)}".strip())
    title = f"All {len(report.gains)} comparisons, column by column, with their tests"
    tests = Table(differences_grid(report.gains, report.rows), title, has_tools=True)
    return [Sentences(short), tests, Notes([EXPLAINED]), note]


def sharpening_blocks(report: Report) -> list[Block]:
    table = report.table
    try:
        baseline = find_baseline(table)
    except InputError as error:
        return [Text(f"Not available: {error}.")]
    gains = splits(table, baseline) if set(table.decodings) == {"sampled", "greedy"} else []
    if not gains:
        return [Text("No method with a reward was evaluated on the baseline's items under both decodings.")]
    titles = ("method", "column", "gain, sampled", "of it sharpening", "of it more", "gain, greedy")
    headings = [Heading(title, is_number=place > 1) for place, title in enumerate(titles)]
    explained = (
        f"Points over {baseline.name}. Sharpening is what greedy decoding of {baseline.name} already gives over "
        "sampling from it; a gain that is sharpening only shows no gain under greedy decoding. Each number has its own "
        "95 % interval, not corrected for how many there are; what is significant is said under "
        f"{DIFFERENCES!r}."
    )
    first = headline(table)
    shown, more = (
        [_split_cells(split, report.rows, baseline) for split in gains if (split.column == first) is is_first]
        for is_first in (True, False)
    )
    if not shown:
        shown, more = more, []
    folded = [Table(Grid(headings, more), "Column by column")] if more else []
    return [Text(explained), Table(Grid(headings, shown)), *folded]


def _split_cells(split: Split, rows: Mapping[str, Row], baseline: Row) -> list[Cell]:
    sources = [*all_sources(rows[split.method]), *all_sources(baseline)]
    numbers = (split.sampled, split.sharpening, split.rest, split.greedy)
    return [Cell(split.method), Cell(split.column), *(_points_cell(size, sources) for size in numbers)]


def _points_cell(size: Estimate, sources: Sequence[Source]) -> Cell:
    return Cell(points(size.value), points_interval(size), sources=sources)


MEASURES_EXPLAINED = (
    "Points by which the method is ahead of the rival, with intervals; paired by item and seed. Rationale quality "
    "where the task knows it; label shares: how much nearer the answered shares lie to gold's, where by chance alone "
    "the method with more wrong answers lies further away; judged: items won less items lost. A dash: not measured on "
    "both, or not compared, and why stands in measures.csv."
)


def measure_blocks(ahead: Sequence[MeasureGain]) -> list[Block]:
    """What the differences come to, sentence by sentence, and all of them in a table."""
    if not any(each.finding.estimate is not None for each in ahead):
        return [Text("Beside accuracy nothing was measured on two methods.")]
    told = [Told(line, [source for each in gains for source in each.finding.sources]) for line, gains in told_of(ahead)]
    small = Notes([MEASURES_EXPLAINED, measures_note(ahead)])
    return [Sentences(told), Table(measures_grid(ahead), "Every measure, method and rival"), small]
