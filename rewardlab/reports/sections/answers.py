"""The sections on answers: those that could not be read, rationale quality, and label shares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from rewardlab.comparison.by_label import EXPLAINED, all_by_label, by_label_grid
from rewardlab.comparison.confidence import EXPLAINED as STATED
from rewardlab.comparison.confidence import all_confidences, confidence_grid
from rewardlab.comparison.grid import MISSING, Cell, Grid, Heading, Source, sources_at
from rewardlab.comparison.label_shares import (
    MALFORMED,
    AllShares,
    LabelShares,
    all_label_shares,
    shares_grid,
    sources_of,
)
from rewardlab.comparison.numbers import shown_value
from rewardlab.comparison.table import ComparisonTable, Row
from rewardlab.reports.blocks import Block, Table, Text
from rewardlab.reports.charts import OTHER, Bar, Panel, Picture
from rewardlab.reports.plots import drawn_rows
from rewardlab.reports.sections.tradeoffs import quality_picture


def shares_pictures(table: ComparisonTable, shares: AllShares) -> list[Picture]:
    """A picture a column under the last decoding: gold's label shares over those of each method."""
    columns = dict.fromkeys(column for (_, (column, decoding)) in shares if decoding == table.decodings[-1])
    return [_picture(table, column, place, shares) for place, column in enumerate(columns)]


def _picture(table: ComparisonTable, column: str, place: int, all_shares: AllShares) -> Picture:
    position = (column, table.decodings[-1])
    drawn = {number: shares for (number, where), shares in all_shares.items() if where == position}
    rows, note = drawn_rows(table)
    drawn = {number: each for number, each in drawn.items() if any(table.rows[number] is row for row in rows)}
    colours = _colours([label for shares in drawn.values() for label in shares.answered])
    bars = [_bar("gold", next(iter(drawn.values())).gold, colours, "")]
    for number, shares in drawn.items():
        row = table.rows[number]
        bars.append(
            _bar(row.name, shares.answered, colours, shown_value(shares.distance.value), sources_of(row, position))
        )
    panel = Panel(f"{column}, {position[1]} decoding", bars, "share of answers, %; right: distance from gold")
    name, alt = f"label_shares_{place}", f"Label shares of answers, {column}"
    return Picture(name, alt, [panel], _legend(drawn.values(), colours), note)


def _bar(
    name: str, shares: Mapping[str, float], colours: Mapping[str, int], text: str, runs: Sequence[Source] = ()
) -> Bar:
    return Bar(name, [(share, colours[label]) for label, share in shares.items()], text, sources=runs)


def _colours(labels: Sequence[str]) -> dict[str, int]:
    """Label -> colour in order of the label set; malformed, and all beyond the tenth, share the grey."""
    named = [label for label in dict.fromkeys(labels) if label != MALFORMED]
    return {**{label: min(place, OTHER) for place, label in enumerate(named)}, MALFORMED: OTHER}


def _legend(drawn: Iterable[LabelShares], colours: Mapping[str, int]) -> list[tuple[str, int]]:
    """Malformed stands in it only where it occurs."""
    is_read = all(shares.answered[MALFORMED] == 0 for shares in drawn)
    return [(label, colour) for label, colour in colours.items() if label != MALFORMED or not is_read]


def quality_blocks(table: ComparisonTable) -> list[Block]:
    names = {"malformed": "malformed", "strict_malformed": "not strict", "quality": "rationale quality"}
    headings = [Heading(title, is_number=False) for title in ("column", "method")]
    headings += [Heading(title, decoding) for decoding in table.decodings for title in names.values()]
    rows = [
        [Cell(column), Cell(row.name), *_summary_cells(row, [(column, each) for each in table.decodings], names)]
        for column in table.metrics
        for row in table.rows
    ]
    explained = "Shares of all answers, and mean rationale quality where the task knows it, times 100."
    picture = quality_picture(table)
    bars = "Lines on the bars: one standard deviation over seeds; for one seed, the 95 % interval over items."
    drawn: list[Block] = [Text("No rationale quality was measured.")] if picture is None else [picture, Text(bars)]
    return [Text(explained), Table(Grid(headings, rows)), *drawn]


def by_label_blocks(table: ComparisonTable) -> list[Block]:
    """Accuracy by gold label; nothing where labels are even."""
    found = all_by_label(table)
    return [Text(EXPLAINED), Table(by_label_grid(table, found))] if found else []


def confidence_blocks(table: ComparisonTable) -> list[Block]:
    """Stated confidence against being right; nothing where no answer states any."""
    found = all_confidences(table)
    return [Text(STATED), Table(confidence_grid(table, found))] if found else []


def label_share_blocks(table: ComparisonTable) -> list[Block]:
    shares = all_label_shares(table)
    if not shares:
        return [Text("No task has a label set.")]
    explained = (
        "Does a method favour certain labels? Distance: share of answers, times 100, that would have to change for "
        "answered label shares to equal gold's (total variation); by chance: what answers without a favourite would "
        "show on as many items. Malformed answers count as a label of their own."
    )
    return [Text(explained), Table(shares_grid(table, shares)), *shares_pictures(table, shares)]


def _summary_cells(row: Row, positions: Iterable[tuple[str, str]], names: Iterable[str]) -> list[Cell]:
    values = [(row.summaries.get(position, {}).get(name), position) for position in positions for name in names]
    return [
        Cell(MISSING) if value is None else Cell(shown_value(value), sources=_plain(sources_at(row, position)))
        for value, position in values
    ]


def _plain(sources: Sequence[Source]) -> list[Source]:
    """Without the values, which are of another number."""
    return [replace(source, value="") for source in sources]
