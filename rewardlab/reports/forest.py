"""The figure of a comparison: a forest plot of differences with corrected intervals, the average first, then tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rewardlab.comparison.difference_text import gain_sources, sentence
from rewardlab.comparison.differences import Gain
from rewardlab.comparison.grid import OTHER_FORMAT
from rewardlab.comparison.table import ComparisonTable, Row, headline
from rewardlab.reports.charts import Difference, Panel, Picture, Sign

MOST_ROWS = 24
"""Rows that can be read; of more methods those with the highest values are drawn."""
MOST_COLUMNS = 12
SIGNS: Mapping[str, Sign] = {
    "better": "better",
    "worse": "worse",
    "level": "level",
    "formats differ": "level",
    "not compared": "missing",
}
READ = (
    "Squares in colour: significantly better (right of 0) or worse (left); open circles: not significantly different; "
    "arrows: further away than the axis reaches. Intervals are corrected for all comparisons together (Holm) and "
    "exclude 0 exactly where p < 0.05."
)


def forest_picture(table: ComparisonTable, gains: Sequence[Gain]) -> Picture | None:
    """Differences under the last decoding shown, a panel a column, one row a method; None where nothing is compared.

    Args:
        table: The comparison.
        gains: Its paired differences.
    """
    decoding = table.decodings[-1]
    by_place = {(gain.method, gain.baseline, gain.column): gain for gain in gains if gain.decoding == decoding}
    compared = {gain.column for gain in by_place.values() if gain.comparison is not None}
    if not compared:
        return None
    first = headline(table)
    columns = [name for name in (first, *(each for each in table.columns if each != first)) if name in compared]
    rows, left = _drawn_rows(table, by_place, columns[0])
    known = {row.name: row for row in table.rows}
    panels = [
        Panel(name, [_mark(by_place, pair, name, known) for pair in rows], "points", is_main=place == 0)
        for place, name in enumerate(columns[:MOST_COLUMNS])
    ]
    rivals = list(dict.fromkeys(baseline for _, baseline in rows))
    against = rivals[0] if len(rivals) == 1 else "the method named above each group"
    told = [f"Difference to {against} in points, {decoding} decoding.", READ]
    told += [f"Not drawn, with lower values: {', '.join(left)}."] if left else []
    told += [f"Not drawn: {', '.join(columns[MOST_COLUMNS:])}."] if columns[MOST_COLUMNS:] else []
    if any(gain.formats for gain in by_place.values()):
        told.append(f"{OTHER_FORMAT}, open too: another answer format, so the difference is not of the method alone.")
    return Picture("forest", f"Differences to {' and '.join(rivals)} with 95 % intervals", panels, [], " ".join(told))


Pair = tuple[str, str]
"""A method and what it is compared with."""


def _drawn_rows(
    table: ComparisonTable, by_place: Mapping[tuple[str, str, str], Gain], column: str
) -> tuple[list[Pair], list[str]]:
    """The pairs drawn, group by group, and the methods for which there is no room.

    The highest value comes first, and of equal ones the first in the table.
    """
    position = (column, table.decodings[-1])
    values = {row.name: row.scores[position].value for row in table.rows if position in row.scores}
    pairs = dict.fromkeys((method, baseline) for method, baseline, _ in by_place)
    rivals = list(dict.fromkeys(baseline for _, baseline in pairs))
    methods = {method for method, _ in pairs}
    places = list(dict.fromkeys(row.name for row in table.rows if row.name in methods))
    names = sorted(places, key=lambda name: -values.get(name, -1.0))  # stable
    room = max(1, MOST_ROWS // len(rivals))
    kept = [(name, rival) for rival in rivals for name in names[:room] if (name, rival) in pairs]
    return kept, names[room:]


def _mark(
    by_place: Mapping[tuple[str, str, str], Gain], pair: Pair, column: str, rows: Mapping[str, Row]
) -> Difference:
    gain = by_place.get((*pair, column))
    group = f"minus {pair[1]}"
    if gain is None or gain.estimate is None:
        told = sentence(gain) if gain else f"{pair[0]} was not measured on {column}."
        return Difference(pair[0], group, float("nan"), float("nan"), float("nan"), "missing", told)
    name = f"{pair[0]} {OTHER_FORMAT}" if gain.formats else pair[0]
    size = gain.estimate
    numbers = (100 * size.value, 100 * size.low, 100 * size.high)
    return Difference(name, group, *numbers, SIGNS[gain.verdict], sentence(gain), gain_sources(gain, rows))
