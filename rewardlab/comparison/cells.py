"""One cell of a comparison: the answers of one run in one column under one decoding, checked when they are read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from rewardlab.evaluation.answers import Answers, read_answers
from rewardlab.metrics import Coded, encode
from rewardlab.types import Label

Position = tuple[str, str]
"""(column, decoding)."""
Values = TypeVar("Values", tuple[str, ...], tuple[Label, ...])
CACHED_CELLS = 16384
"""A thousand runs of eight columns under two decodings."""


@dataclass(frozen=True, eq=False)
class CellData:
    """The predictions of one run in one column under one decoding, sorted by id.

    Attributes:
        column: Column of the table.
        ids, gold, answers: One entry a test item; a malformed answer is None.
        labels, numeric_range: The task's answer space, as metrics read it.
        summary: What the evaluation stored: n, metrics with intervals, malformed, strict_malformed, unfinished and
            quality.
        quality: Rationale quality of each answer, None where it has none; None in folders that do not store it here.
    """

    column: str
    ids: tuple[str, ...]
    gold: tuple[Label, ...]
    answers: tuple[Label | None, ...]
    labels: tuple[str, ...]
    numeric_range: tuple[float, float] | None
    summary: Mapping[str, Any]
    quality: tuple[float | None, ...] | None = None

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the measured metrics, the main one first."""
        return tuple(self.summary["metrics"])

    @property
    def space(self) -> tuple[frozenset[str], tuple[float, float] | None]:
        """What answers can be; runs are compared in a column only where this is equal."""
        return frozenset(self.labels), self.numeric_range


@lru_cache(maxsize=CACHED_CELLS)
def coded(cell: CellData, metric: str) -> Coded:
    """Gold labels and answers of a cell as numbers; cached because tables and tests ask again."""
    return encode(metric, cell.gold, cell.answers, cell)


def read_cells(folder: Path, columns: Mapping[str, Mapping[str, Any]]) -> dict[Position, CellData]:
    """The cells of an evaluation folder.

    Args:
        folder: The folder.
        columns: Column -> decoding -> summary, as ``result.json`` holds them.
    Raises:
        DataError: A file cannot be read, or an answer does not fit the metrics of its column.
        KeyError, IndexError, TypeError, ValueError, AttributeError: Something is missing or of another kind.
    """
    if not columns:
        raise ValueError("no column was measured")
    found = read_answers(folder)
    cells = {}
    for column, decodings in columns.items():
        for decoding, summary in decodings.items():
            answers = found.get((column, decoding), Answers((), (), ()))
            if len(answers.ids) != summary["n"]:
                raise ValueError(
                    f"{column} {decoding}: {len(answers.ids)} predictions, result.json says {summary['n']}"
                )
            cells[column, decoding] = _cell(column, answers, summary)
    return cells


def _cell(column: str, answers: Answers, summary: Mapping[str, Any]) -> CellData:
    scale = summary.get("numeric_range")
    cell = CellData(
        column=column,
        ids=_one(answers.ids),
        gold=_one(answers.gold),
        answers=answers.answers,
        labels=tuple(summary.get("labels", ())) or _labels_seen(answers, scale),
        numeric_range=(float(scale[0]), float(scale[1])) if scale else None,
        summary=summary,
        quality=answers.quality,
    )
    if not cell.metrics:
        raise ValueError(f"{column}: no metric was measured")
    for metric in cell.metrics:
        numbers = coded(cell, metric)
        if not math.isfinite(numbers.gold.sum() + numbers.predicted.sum()):
            raise ValueError(f"{column}: a gold label or an answer is not a finite number")
    return cell


@lru_cache(maxsize=1024)
def _one(values: Values) -> Values:
    """The first of equal tuples, so that runs on the same items hold them once and compare them at a glance."""
    return values


def _labels_seen(answers: Answers, scale: object) -> tuple[str, ...]:
    """Label set of a folder that does not store it; empty for numbers."""
    if scale is not None:
        return ()
    seen: Iterable[Label | None] = (*answers.gold, *answers.answers)
    return tuple(sorted({str(label) for label in seen if label is not None}))
