"""What a comparison comes to, in three sentences: what was compared, on what, and which method won, if one did.

A method wins where it has the highest value, every other method is significantly lower, corrected over all pairs of
rows, and no rival that it is called better than cost less: gold labels, annotator calls, device seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rewardlab.comparison.conventions import metric_title
from rewardlab.comparison.evaluations import Position
from rewardlab.comparison.grid import Source, all_sources
from rewardlab.comparison.numbers import interval_text, shown_value
from rewardlab.comparison.table import AVERAGE, ComparisonTable, Row, headline

SLACK: Mapping[str, float] = {"gold_labels": 0.02, "annotator_calls": 0.02, "seconds": 0.25}
"""Cost -> by what share a method's may exceed a rival's and still count as equal; seconds vary with the machine."""
COST_NAMES: Mapping[str, str] = {
    "gold_labels": "gold labels",
    "annotator_calls": "annotator calls",
    "seconds": "device seconds",
}
MOST_NAMES = 5
"""More methods or tasks than these are counted and not named."""


OTHER_ITEMS, ANOTHER_FORMAT = "other seeds or test items", "another answer format"


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence and the runs that it tells of."""

    text: str
    sources: Sequence[Source] = ()


def answer(table: ComparisonTable) -> list[Sentence]:
    """Three sentences; no winner is named where the comparison names none."""
    position = (headline(table), table.decodings[-1])
    return [Sentence(_compared(table)), Sentence(_measured(table, position)), _won(table, position)]


def _compared(table: ComparisonTable) -> str:
    models = list(dict.fromkeys(row.key.model for row in table.rows))
    seeds = sorted({len(row.seeds) for row in table.rows})
    many = f"{seeds[0]} seed{'s' if seeds[0] > 1 else ''}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} seeds"
    names = f" ({_listed(row.name for row in table.rows)})" if len(table.rows) <= MOST_NAMES else ""
    method = f"{len(table.rows)} method{'s' if len(table.rows) > 1 else ''}{names}"
    is_of_runs = any(score.basis == "items" for row in table.rows for score in row.scores.values())
    caveat = " (of these runs, not of other seeds)" if is_of_runs else ""
    return f"Compared: {method} on {_listed(models, 'models')}, {many} each{caveat}."


def _measured(table: ComparisonTable, position: Position) -> str:
    column, decoding = position
    columns = list(table.averaged) if column == AVERAGE else [column]
    items = {name: _items(table, (name, decoding)) for name in columns}
    metrics = dict.fromkeys(metric_title(table.metrics[name]) for name in columns)
    of = f"average of {len(table.tasks)} tasks, " if column == AVERAGE else ""
    told = _listed((f"{name} ({items[name]} items)" for name in columns), "tasks")
    if len(columns) > MOST_NAMES:
        told += f", {sum(items.values())} items"
    return f"Measured: {of}{'/'.join(metrics)} times 100 under {decoding} decoding, on {told}."


def _items(table: ComparisonTable, position: Position) -> int:
    """Test items of a column, of the row that has most."""
    cells = (cell for row in table.rows for cell in row.cells.get(position, {}).values())
    return max((len(cell.ids) for cell in cells), default=0)


def _won(table: ComparisonTable, position: Position) -> Sentence:
    """The winner, or that there is none and why; a row whose answers could not be read is no rival."""
    rows = {
        number: row
        for number, row in enumerate(table.rows)
        if position in row.scores and row.summaries.get(position, {}).get("malformed") != 1.0
    }
    if len(rows) < 2:
        return Sentence("No winner: there is no other method to compare with.")
    best = [number for number in rows if table.marks.get((number, position)) == "best"]
    if not best:
        return Sentence("No winner: all methods have the same value as printed.")
    first, others = rows[best[0]], {number: row for number, row in rows.items() if number != best[0]}
    score = first.scores[position]
    what = position[0] if position[0] == AVERAGE else "value"
    highest = f"{first.name} has the highest {what} ({shown_value(score.value)} {interval_text(score)})"
    level = [row.name for number, row in others.items() if (number, position) in table.ties or number in best]
    apart = {
        why: [row.name for n, row in others.items() if (n, position) in places and row.name not in level]
        for why, places in ((OTHER_ITEMS, table.untested), (ANOTHER_FORMAT, table.other_format - table.untested))
    }
    has_none = level or any(apart.values())
    told = _none(highest, level, apart) if has_none else _winner(first, list(others.values()), highest)
    aside = [row.name for number, row in enumerate(table.rows) if number not in rows]
    left_out = f" (left out, without a readable {what}: {_listed(aside, 'methods')})" if aside else ""
    return Sentence(f"{told}{left_out}.", all_sources(first))


def _none(highest: str, level: Sequence[str], apart: Mapping[str, Sequence[str]]) -> str:
    """No winner, since some do not differ significantly from the highest value, or cannot be compared with it."""
    reasons = [f"not significantly above {_listed(level, 'other methods')}"] if level else []
    reasons += [f"not comparable with {_listed(names, 'methods')} ({why})" for why, names in apart.items() if names]
    return f"No method is significantly better than all others: {highest}, {', and '.join(reasons)}"


def _winner(first: Row, others: Sequence[Row], highest: str) -> str:
    """Every other method is significantly lower: which of them did not cost less?"""
    cheaper = {row.name: costs for row in others if (costs := dearer(first, row))}
    if not cheaper:
        return f"Winner: {highest}, significantly above every other method, at no higher cost than any of them"
    more = _listed(dict.fromkeys(COST_NAMES[name] for names in cheaper.values() for name in names))
    fair = [row.name for row in others if row.name not in cheaper]
    if not fair:
        return f"No winner at equal cost: {highest}, significantly above every other method, but it took more {more}"
    return (
        f"Winner at equal cost: {highest}, significantly above {_listed(fair, 'methods')}; it is also above "
        f"{_listed(cheaper, 'methods')}, but took more {more} than they did"
    )


def dearer(row: Row, rival: Row) -> list[str]:
    """The costs of which a method took more than its rival, beyond :data:`SLACK`."""
    return [name for name, slack in SLACK.items() if row.cost[name] > rival.cost[name] * (1 + slack)]


def _listed(names: Iterable[str], what: str = "") -> str:
    """``a, b and c``, with semicolons where names have commas; more than a sentence takes are counted.

    >>> _listed(["a", "b", "c"]), _listed(["a, x", "b", "c"]), _listed("abcdef", "tasks")
    ('a, b and c', 'a, x; b; c', '6 tasks')
    """
    told = list(names)
    if len(told) > MOST_NAMES and what:
        return f"{len(told)} {what}"
    if any("," in name for name in told):
        return "; ".join(told)
    return " and ".join(part for part in (", ".join(told[:-1]), told[-1]) if part)
