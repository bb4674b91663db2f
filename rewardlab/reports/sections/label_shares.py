"""Pictures of label shares: gold's over those of each method, a picture a column."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rewardlab.comparison.grid import Source
from rewardlab.comparison.label_shares import MALFORMED, AllShares, LabelShares, sources_of
from rewardlab.comparison.numbers import shown_value
from rewardlab.comparison.table import ComparisonTable
from rewardlab.reports.charts import OTHER, Bar, Panel, Picture


def shares_pictures(table: ComparisonTable, found: AllShares) -> list[Picture]:
    """A picture a column under the last decoding: gold's label shares over those of each method."""
    columns = dict.fromkeys(column for (_, (column, decoding)) in found if decoding == table.decodings[-1])
    return [_picture(table, column, place, found) for place, column in enumerate(columns)]


def _picture(table: ComparisonTable, column: str, place: int, found: AllShares) -> Picture:
    position = (column, table.decodings[-1])
    drawn = {number: shares for (number, where), shares in found.items() if where == position}
    colours = _colours([label for shares in drawn.values() for label in shares.answered])
    bars = [_bar("gold", next(iter(drawn.values())).gold, colours, "")]
    for number, shares in drawn.items():
        row = table.rows[number]
        bars.append(
            _bar(row.name, shares.answered, colours, shown_value(shares.distance.value), sources_of(row, position))
        )
    panel = Panel(f"{column}, {position[1]} decoding", bars, "share of answers, %; right: distance from gold")
    return Picture(
        f"label_shares_{place}", f"Label shares of answers, {column}", [panel], _legend(drawn.values(), colours)
    )


def _bar(
    name: str, shares: Mapping[str, float], colours: Mapping[str, int], text: str, runs: Sequence[Source] = ()
) -> Bar:
    return Bar(name, [(share, colours[label]) for label, share in shares.items()], text, sources=runs)


def _colours(labels: Sequence[str]) -> dict[str, int]:
    """Label -> colour in order of the label set; malformed, and all beyond the tenth, share the grey."""
    named = [label for label in dict.fromkeys(labels) if label != MALFORMED]
    return {**{label: min(place, OTHER) for place, label in enumerate(named)}, MALFORMED: OTHER}


def _legend(found: Iterable[LabelShares], colours: Mapping[str, int]) -> list[tuple[str, int]]:
    """Malformed stands in it only where it occurs."""
    is_read = all(shares.answered[MALFORMED] == 0 for shares in found)
    return [(label, colour) for label, colour in colours.items() if label != MALFORMED or not is_read]
