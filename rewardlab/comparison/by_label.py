"""Right answers by gold label, where labels are uneven: there accuracy is mostly that of the frequent label.

Recall of a label is the share of right answers among the items with it. Balanced accuracy is the mean of the recalls,
macro-F1 the mean of the labels' F1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from rewardlab.comparison.evaluations import CellData, Position, coded
from rewardlab.comparison.grid import MISSING, Cell, Grid, Heading, sources_at
from rewardlab.comparison.numbers import interval_text, shown_value
from rewardlab.comparison.statistics import RESAMPLES, Estimate, draws_of, estimate, measured, possible
from rewardlab.comparison.table import ComparisonTable, Row
from rewardlab.metrics import Floats
from rewardlab.tasks.sets import labels_in

if TYPE_CHECKING:
    import polars

UNEVEN = 2.0
"""Labels are uneven where the most frequent one has so many times as many test items as the rarest that has any."""
MOST_LABELS = 8
"""Labels whose recalls stand in a cell; of more, the lowest ones."""
METRICS = ("macro_f1", "balanced_accuracy")
EXPLAINED = (
    "Accuracy by gold label, where the most frequent label has at least twice as many test items as the rarest. "
    "Recall: share of the items with a label whose answer has it; balanced accuracy: mean of the recalls; macro-F1: "
    "mean of the labels' F1. All times 100."
)


@dataclass(frozen=True, slots=True)
class ByLabel:
    """One method at one position.

    Attributes:
        means: ``macro_f1`` and ``balanced_accuracy``.
        recalls: Label -> share of right answers among the items with it, mean over the seeds that have any.
        items: Label -> how many these are, mean over those seeds, rounded.
    """

    means: Mapping[str, Estimate]
    recalls: Mapping[str, Estimate]
    items: Mapping[str, int]


def is_uneven(cell: CellData) -> bool:
    """Whether gold labels are uneven; numbers are not."""
    counts = _items(cell).values()
    return bool(cell.labels) and len(counts) > 1 and max(counts) >= UNEVEN * min(counts)


def _items(cell: CellData) -> Counter[str]:
    """Label -> test items that have it."""
    return Counter(label for gold in cell.gold for label in (labels_in(gold) if cell.multi_label else (str(gold),)))


def by_label(row: Row, position: Position, resamples: int = RESAMPLES) -> ByLabel | None:
    """Accuracy by gold label; None where it was not measured, or labels are not uneven."""
    cells = row.cells.get(position, {})
    if not any(map(is_uneven, cells.values())):
        return None
    counts = {seed: _items(cell) for seed, cell in cells.items()}
    having = {
        label: {seed: cell for seed, cell in cells.items() if counts[seed][label]}
        for label in dict.fromkeys(label for cell in cells.values() for label in cell.labels)
    }
    return ByLabel(
        means={name: possible(draws_of(cells, (name,), resamples), (name,)) for name in METRICS},
        recalls={
            label: estimate(measured(own, partial(_recall, label), resamples), 0.0, 1.0)
            for label, own in having.items()
            if own
        },
        items={label: round(fmean(counts[seed][label] for seed in own)) for label, own in having.items() if own},
    )


def all_by_label(table: ComparisonTable, resamples: int = RESAMPLES) -> dict[tuple[int, Position], ByLabel]:
    """(row number, position) -> accuracy by gold label, columns outside; where labels are uneven."""
    places = [
        (number, (column, decoding))
        for column in table.metrics
        for number in range(len(table.rows))
        for decoding in table.decodings
    ]
    found = {place: by_label(table.rows[place[0]], place[1], resamples) for place in places}
    return {place: each for place, each in found.items() if each is not None}


def by_label_grid(table: ComparisonTable, found: Mapping[tuple[int, Position], ByLabel]) -> Grid:
    """A line a column and method: macro-F1, balanced accuracy, and the recall of each label."""
    headings = [Heading("column", is_number=False), Heading("method", is_number=False)]
    for decoding in table.decodings:
        headings += [Heading("macro-F1", decoding), Heading("balanced acc.", decoding)]
        headings += [Heading("recall by label", decoding, is_number=False)]
    lines = dict.fromkeys((column, number) for number, (column, _) in found)
    rows = [
        [
            Cell(column),
            Cell(table.rows[number].name),
            *(
                cell
                for decoding in table.decodings
                for cell in _cells(table.rows[number], (column, decoding), found.get((number, (column, decoding))))
            ),
        ]
        for column, number in lines
    ]
    return Grid(headings, rows)


def label_frame(table: ComparisonTable, found: Mapping[tuple[int, Position], ByLabel]) -> polars.DataFrame:
    """One line a method, column, decoding and label: items, recall, interval."""
    import polars

    return polars.DataFrame(list(_frame_rows(table, found)), infer_schema_length=None)


def _frame_rows(table: ComparisonTable, found: Mapping[tuple[int, Position], ByLabel]) -> Iterator[dict[str, Any]]:
    for (number, (column, decoding)), each in found.items():
        for label, recall in each.recalls.items():
            yield {
                "row": table.rows[number].name,
                "column": column,
                "decoding": decoding,
                "label": label,
                "items": each.items[label],
                **{name: getattr(recall, name) for name in ("value", "low", "high", "sd", "seeds")},
                "interval_over": recall.basis,
            }


def _cells(row: Row, position: Position, found: ByLabel | None) -> list[Cell]:
    if found is None:
        return [Cell(MISSING)] * 3
    runs = [replace(source, value="") for source in sources_at(row, position)]  # the values are of another number
    means = [Cell(shown_value(each.value), interval_text(each), sources=runs) for each in found.means.values()]
    return [*means, Cell(_listed(found.recalls))]


def _listed(recalls: Mapping[str, Estimate]) -> str:
    """All labels in their order, or the lowest of many."""
    if len(recalls) <= MOST_LABELS:
        return ", ".join(f"{label} {shown_value(each.value)}" for label, each in recalls.items())
    lowest = sorted(recalls, key=lambda label: recalls[label].value)[:MOST_LABELS]
    shown = ", ".join(f"{label} {shown_value(recalls[label].value)}" for label in lowest)
    return f"lowest of {len(recalls)}: {shown}"


def _recall(label: str, cell: CellData, counts: Floats) -> Floats:
    """Share of right answers among the items with a label; over all of them where a resample has none. Shape (B,)."""
    codes = coded(cell, "accuracy")
    place = codes.labels.index(label)
    if cell.multi_label:
        own, right = codes.gold[:, place], codes.gold[:, place] * codes.predicted[:, place]
    else:
        own = (codes.gold == place).astype(np.float64)
        right = own * (codes.gold == codes.predicted)
    drawn = counts @ own
    share = np.divide(counts @ right, drawn, out=np.full(len(counts), right.sum() / own.sum()), where=drawn > 0)
    return np.asarray(share, dtype=np.float64)
