"""How often each label is answered, beside how often it is right: does a method favour certain labels (claim C14)?

The distance between the two is the total variation: the share of answers that would have to change for the label
shares to agree, 0 to 1; malformed answers are a label of their own that gold never has. It is never negative, so a
method that favours no label shows some distance by chance; :func:`by_chance` says how much.
Letters: n test items, B resamples, K labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from statistics import fmean

import numpy as np

from rewardlab.comparison.evaluations import CellData, Position, coded
from rewardlab.comparison.grid import MISSING, Cell, Grid, Heading, Source
from rewardlab.comparison.numbers import interval_text, points, shown_value
from rewardlab.comparison.statistics import RESAMPLES, Estimate, SeedDraws, column_means, estimate, of_cells
from rewardlab.comparison.table import ComparisonTable, Row
from rewardlab.metrics import Floats

AllShares = Mapping[tuple[int, Position], "LabelShares"]
"""(row number, position) -> its label shares; columns without labels are absent."""
MALFORMED = "malformed"
"""What shares call answers that could not be read."""


@dataclass(frozen=True, slots=True)
class LabelShares:
    """Answered against gold label shares of one method at one position, means over seeds.

    Attributes:
        gold, answered: Label (and ``malformed``) -> share.
        distance: Total variation between the two.
        by_chance: What a method that favours no label would show.
    """

    gold: Mapping[str, float]
    answered: Mapping[str, float]
    distance: Estimate
    by_chance: float

    @property
    def furthest(self) -> tuple[str, float]:
        """The label whose share is furthest from gold's, and by how much."""
        shifts = {label: share - self.gold[label] for label, share in self.answered.items()}
        label = max(shifts, key=lambda name: abs(shifts[name]))
        return label, shifts[label]


def label_shares(row: Row, position: Position, resamples: int = RESAMPLES) -> LabelShares | None:
    """Shares of one method at one position; None where it was not measured or answers numbers."""
    cells = row.cells.get(position, {})
    if not cells or any(not cell.labels or cell.multi_label for cell in cells.values()):
        return None
    return LabelShares(
        gold=_mean_shares([_shares(cell, "gold") for cell in cells.values()]),
        answered=_mean_shares([_shares(cell, "predicted") for cell in cells.values()]),
        distance=estimate(distance_draws(cells, resamples), 0.0, 1.0),
        by_chance=fmean(by_chance(cell) for cell in cells.values()),
    )


def distance_draws(cells: Mapping[int, CellData], resamples: int = RESAMPLES) -> SeedDraws:
    """Total variation in each seed's cell; resamples lie further from gold than all items do and are moved back."""
    return _distance_draws(tuple(cells.items()), resamples)


@lru_cache(maxsize=64)  # the rival of all comparisons is asked for in each of them
def _distance_draws(by_seed: tuple[tuple[int, CellData], ...], resamples: int) -> SeedDraws:
    cells = dict(by_seed)
    shifts = column_means(cells, _shifts, resamples)
    distances = [(total_variation(shift), total_variation(drawn)) for shift, drawn in shifts]
    return of_cells(cells, [(value, draws + (value - draws.mean())) for value, draws in distances])


def total_variation(shifts: Floats) -> Floats:
    """Half the summed distance of answered from gold label shares: their differences, shape (..., K + 1). Shape (...).

    Source:
        Levin & Peres 2017, proposition 4.2.
    """
    return np.asarray(np.abs(shifts).sum(axis=-1) / 2, dtype=np.float64)


def by_chance(cell: CellData) -> float:
    """Mean total variation over test sets, if wrong answers favoured no label: that of normal shares around gold's."""
    spread = np.sqrt((_shifts(cell) ** 2).mean(axis=0) / len(cell.ids))
    return float(np.sqrt(2 / np.pi) * spread.sum() / 2)


def all_label_shares(table: ComparisonTable) -> AllShares:
    """Label shares of every method in every column with labels, under every decoding."""
    places = ((number, position) for position in table.positions for number in range(len(table.rows)))
    shares_at = {place: label_shares(table.rows[place[0]], place[1]) for place in places}
    return {place: shares for place, shares in shares_at.items() if shares is not None}


def shares_grid(table: ComparisonTable, shares: AllShares) -> Grid:
    """A line a column and method: distance, what chance gives, and the label furthest from gold."""
    titles = ("distance", "by chance", "furthest label")
    headings = [Heading("column", is_number=False), Heading("method", is_number=False)]
    headings += [
        Heading(title, decoding, is_number=title != titles[2]) for decoding in table.decodings for title in titles
    ]
    return Grid(headings, [_line(table, column, number, shares) for column, number in _places(shares)])


def _places(shares: AllShares) -> list[tuple[str, int]]:
    """(column, row number), columns outside."""
    return list(dict.fromkeys((column, number) for number, (column, _) in shares))


def _line(table: ComparisonTable, column: str, number: int, shares: AllShares) -> list[Cell]:
    row = table.rows[number]
    cells = [
        cell
        for decoding in table.decodings
        for cell in _cells(row, (column, decoding), shares.get((number, (column, decoding))))
    ]
    return [Cell(column), Cell(row.name), *cells]


def _cells(row: Row, position: Position, shares: LabelShares | None) -> list[Cell]:
    if shares is None:
        return [Cell(MISSING)] * 3
    label, shift = shares.furthest
    return [
        Cell(shown_value(shares.distance.value), interval_text(shares.distance), sources=sources_of(row, position)),
        Cell(shown_value(shares.by_chance)),
        Cell(f"{label} {points(shift)}"),
    ]


def _shifts(cell: CellData) -> Floats:
    """Answered less gold, one-hot. Shape (n, K + 1); the last column is malformed."""
    codes = coded(cell, "accuracy")
    one_hot = np.eye(len((*codes.labels, MALFORMED)))
    return np.asarray(one_hot[codes.predicted.astype(np.intp)] - one_hot[codes.gold.astype(np.intp)])


def _shares(cell: CellData, side: str) -> dict[str, float]:
    codes = coded(cell, "accuracy")
    counts = np.bincount(getattr(codes, side).astype(np.intp), minlength=len(codes.labels) + 1)
    return dict(zip((*codes.labels, MALFORMED), (counts / len(cell.ids)).tolist(), strict=True))


def _mean_shares(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Label -> mean over seeds; one that a seed does not know has a share of 0 there."""
    return {label: fmean(part.get(label, 0.0) for part in parts) for label in dict.fromkeys(chain(*parts))}


def sources_of(row: Row, position: Position) -> list[Source]:
    return [Source(run.path) for run in row.runs if position in run.cells]
