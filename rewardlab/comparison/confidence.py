"""Stated confidence against being right, method by method: where answers say how sure they are (format ``confident``).

What is measured stands in ``calibration.py``; intervals are those of all tables, over seeds and test items. Answers
without a confidence, and those that cannot be read, are left out of it and counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from operator import eq
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from rewardlab.calibration import CALIBRATIONS, Calibration
from rewardlab.comparison.evaluations import CellData, Position
from rewardlab.comparison.grid import MISSING, Cell, Grid, Heading, sources_at
from rewardlab.comparison.numbers import interval_text, shown_value
from rewardlab.comparison.statistics import RESAMPLES, Estimate, estimate, measured
from rewardlab.comparison.table import ComparisonTable, Row
from rewardlab.gold_answers import is_one_of
from rewardlab.metrics import Floats

if TYPE_CHECKING:
    import polars

TITLES = {"overconfidence": "over-confidence", "ece": "ECE", "brier": "Brier", "aurc": "AURC"}
EXPLAINED = (
    "Confidence that answers state. Over-confidence: mean confidence less the share of right answers; ECE: expected "
    "calibration error, ten bins of equal width; Brier: mean squared distance of confidence and right; AURC: area "
    "under the risk-coverage curve. Lower is better in all but the first, where 0 is. Stated: share of answers that "
    "were read and state one, on which the others are measured. All times 100."
)


@dataclass(frozen=True, slots=True)
class Confidence:
    """One method at one position: share of answers that state a confidence, and name -> what these are worth."""

    stated: float
    measures: Mapping[str, Estimate]


def confidence_of(row: Row, position: Position, resamples: int = RESAMPLES) -> Confidence | None:
    """What stated confidences are worth; None where a seed's answers state none."""
    cells = row.cells.get(position, {})
    held = {seed: _held(cell) for seed, cell in cells.items()}
    if not cells or not all(each.any() for each in held.values()):
        return None
    return Confidence(
        stated=fmean(float(each.mean()) for each in held.values()),
        measures={
            name: estimate(
                measured(cells, partial(_measured, measure), resamples), -1.0 if name == "overconfidence" else 0.0, 1.0
            )
            for name, measure in CALIBRATIONS.items()
        },
    )


def all_confidences(table: ComparisonTable, resamples: int = RESAMPLES) -> dict[tuple[int, Position], Confidence]:
    """(row number, position) -> what stated confidences are worth; columns outside, those without any absent."""
    places = [
        (number, (column, decoding))
        for column in table.metrics
        for number in range(len(table.rows))
        for decoding in table.decodings
    ]
    found = {place: confidence_of(table.rows[place[0]], place[1], resamples) for place in places}
    return {place: each for place, each in found.items() if each is not None}


def confidence_grid(table: ComparisonTable, found: Mapping[tuple[int, Position], Confidence]) -> Grid:
    """A line a column and method."""
    headings = [Heading("column", is_number=False), Heading("method", is_number=False)]
    headings += [Heading(title, decoding) for decoding in table.decodings for title in ("stated", *TITLES.values())]
    rows = []
    for column, number in dict.fromkeys((column, number) for number, (column, _) in found):
        row = table.rows[number]
        places = [(column, decoding) for decoding in table.decodings]
        cells = [cell for place in places for cell in _cells(row, place, found.get((number, place)))]
        rows.append([Cell(column), Cell(row.name), *cells])
    return Grid(headings, rows)


def confidence_frame(table: ComparisonTable, found: Mapping[tuple[int, Position], Confidence]) -> polars.DataFrame:
    """One line a method, column, decoding and measure, with its interval."""
    import polars

    return polars.DataFrame(list(_frame_rows(table, found)), infer_schema_length=None)


def _frame_rows(table: ComparisonTable, found: Mapping[tuple[int, Position], Confidence]) -> Iterator[dict[str, Any]]:
    for (number, (column, decoding)), each in found.items():
        for name, value in each.measures.items():
            yield {
                "row": table.rows[number].name,
                "column": column,
                "decoding": decoding,
                "measure": name,
                "stated": each.stated,
                **{field: getattr(value, field) for field in ("value", "low", "high", "sd", "seeds")},
                "interval_over": value.basis,
            }


def _cells(row: Row, position: Position, found: Confidence | None) -> list[Cell]:
    if found is None:
        return [Cell(MISSING)] * (1 + len(TITLES))
    runs = [replace(source, value="") for source in sources_at(row, position)]  # the values are of another number
    measures = [
        Cell(shown_value(found.measures[name].value), interval_text(found.measures[name]), sources=runs)
        for name in TITLES
    ]
    return [Cell(shown_value(found.stated)), *measures]


def _held(cell: CellData) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which answers were read and state a confidence. Shape (n,)."""
    if cell.confidence is None:
        return np.zeros(len(cell.ids), dtype=np.bool_)
    both = zip(cell.confidence, cell.answers, strict=True)
    return np.array([confidence is not None and answer is not None for confidence, answer in both])


def _measured(measure: Calibration, cell: CellData, counts: Floats) -> Floats:
    """A measure on resamples; where one draws no answer with a confidence, that on all of them. Shape (B,)."""
    assert cell.confidence is not None
    held = _held(cell)
    confidence = np.array([value for value, is_in in zip(cell.confidence, held, strict=True) if is_in], np.float64)
    is_right = is_one_of if cell.candidates else eq
    right = np.array([is_right(a, g) for a, g in zip(cell.answers, cell.gold, strict=True)], np.float64)[held]
    drawn = counts[:, held]
    empty = drawn.sum(axis=1) == 0
    return measure(confidence, right, np.where(empty[:, None], 1.0, drawn))
