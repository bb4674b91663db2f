"""The comparison as a data frame, one line a number: what ``table.csv`` holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rewardlab.comparison.evaluations import Position
from rewardlab.comparison.statistics import Estimate, draws_of, possible
from rewardlab.comparison.table import AVERAGE, COSTS, SUMMARIES, ComparisonTable
from rewardlab.printable import csv_cell

if TYPE_CHECKING:
    import polars


def frame(table: ComparisonTable) -> polars.DataFrame:
    """One line a method, decoding, column and measured metric, values not multiplied by 100."""
    import polars

    rows = [
        line
        for number in range(len(table.rows))
        for position in table.positions
        for line in _lines(table, number, position)
    ]
    return polars.DataFrame(rows, infer_schema_length=None)


def csv_text(rows: polars.DataFrame) -> str:
    """A data frame as CSV; a text that a spreadsheet would take for a formula is quoted (:func:`csv_cell`)."""
    import polars

    texts = [name for name, kind in rows.schema.items() if kind == polars.String]
    safe = [polars.Series(name, [csv_cell(value) for value in rows[name]], polars.String) for name in texts]
    return rows.with_columns(safe).write_csv()


def _lines(table: ComparisonTable, number: int, position: Position) -> list[dict[str, Any]]:
    row = table.rows[number]
    if position not in row.scores:
        return []
    if position[0] == AVERAGE:
        return [_line(table, number, position, "mean", row.scores[position])]
    cells = row.cells[position]
    measured = next(iter(cells.values())).metrics
    return [_line(table, number, position, name, possible(draws_of(cells, (name,)), (name,))) for name in measured]


def _line(table: ComparisonTable, number: int, position: Position, metric: str, score: Estimate) -> dict[str, Any]:
    (column, decoding), row = position, table.rows[number]
    place = (number, position)
    return {
        "method": row.key.method,
        "start": row.key.start,
        "reward": row.key.reward,
        "shots": row.key.shots,
        "model": row.key.model,
        "format": row.key.format,
        "policy": row.key.checkpoint,
        "decoding": decoding,
        "column": column,
        "metric": metric,
        "in_table": column == AVERAGE or metric in table.metrics[column],
        "tied_with_best": None if place in table.untested else place in table.ties,
        "other_format_than_best": place in table.other_format,
        "value": score.value,
        "low": score.low,
        "high": score.high,
        "sd": score.sd,
        "seeds": score.seeds,
        "interval_over": score.basis,
        **{name: row.summaries[position].get(name) for name in SUMMARIES},
        "start_accuracy": row.start_accuracy,
        **{name: row.cost[name] for name in COSTS},
    }
