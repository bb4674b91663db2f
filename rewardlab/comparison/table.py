"""The comparison as data: methods x columns x decodings, with intervals, marks and costs.

Rows are ordered and named in ``method_names.py``; what prints the table is in ``grid.py`` and ``frames.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from statistics import fmean
from typing import Literal, TypeVar

from rewardlab.comparison.cells import CellData, Position
from rewardlab.comparison.conventions import averaged_columns, scored_metrics
from rewardlab.comparison.method_names import place_of, row_names
from rewardlab.comparison.numbers import shown_value
from rewardlab.comparison.paired import Comparison, compare_sides, correct
from rewardlab.comparison.runs import EvalRun, MethodKey, by_method, cells_by_seed
from rewardlab.comparison.statistics import (
    RESAMPLES,
    Estimate,
    SeedDraws,
    UnpairedError,
    draws_of,
    estimate,
    mean_of,
)
from rewardlab.evaluation.cost import Cost
from rewardlab.metrics import SHARES

AVERAGE = "average"
DECODINGS = ("sampled", "greedy")
COSTS = ("gold_labels", "annotator_calls", "seconds")
Mark = Literal["", "best", "second"]
Rival = TypeVar("Rival")


@dataclass(frozen=True, slots=True)
class Row:
    """One method.

    Attributes:
        key: Its method, start, reward, shots and model.
        name: What sentences call it: the method, and in brackets what sets it apart from others of that method.
        scores: (column, decoding) -> number with interval; a missing cell is absent.
        cost: Gold labels, annotator calls and seconds of one seed, mean over seeds.
        seeds: Its seeds.
        runs: The evaluations it was made from.
        by_seed: (column, decoding) -> seed -> that seed's number; not for the average.
        start_accuracy: Of PPO, before its first update: greedy on validation rows, mean over runs; None without one.
    """

    key: MethodKey
    name: str
    scores: Mapping[Position, Estimate]
    cost: Mapping[str, float]
    seeds: tuple[int, ...]
    runs: Sequence[EvalRun]
    by_seed: Mapping[Position, Mapping[int, float]] = field(default_factory=dict)
    start_accuracy: float | None = None


@dataclass(frozen=True, slots=True)
class ComparisonTable:
    """Methods x columns under each decoding.

    Attributes:
        columns: Columns in order; the last is ``average`` when two or more count in it.
        metrics: Column -> the metrics whose mean it shows.
        decodings: ``sampled``, ``greedy`` or both.
        rows: Methods in the order of SPEC section 5.
        convention: ``rllr`` or ``ppo-nlu``.
        warnings: What the reader should know about the runs.
        ties: (row number, position) of values that do not differ significantly from the best one there, corrected
            over all pairs of rows in the whole table: the best one was chosen by looking at all of them.
        untested: (row number, position) of values that cannot be compared with the best one there: other seeds, or
            other test items.
        other_format: (row number, position) of values in another answer format than the best one there.
    """

    columns: tuple[str, ...]
    metrics: Mapping[str, tuple[str, ...]]
    decodings: tuple[str, ...]
    rows: Sequence[Row]
    convention: str
    warnings: Sequence[str] = field(default_factory=tuple)
    ties: frozenset[tuple[int, Position]] = frozenset()
    untested: frozenset[tuple[int, Position]] = frozenset()
    other_format: frozenset[tuple[int, Position]] = frozenset()

    @property
    def averaged(self) -> tuple[str, ...]:
        """The columns that count in the average, by the convention."""
        return averaged_columns(self.convention, tuple(self.metrics))

    @property
    def positions(self) -> list[Position]:
        """All (column, decoding), decodings outside."""
        return [(column, decoding) for decoding in self.decodings for column in self.columns]

    def row(self, method: str) -> Row | None:
        """The first row of that method name, whatever the case; None when there is none."""
        return next((row for row in self.rows if row.key.method.lower() == method.lower()), None)


def build_table(
    runs: Sequence[EvalRun],
    *,
    convention: str = "rllr",
    decodings: Sequence[str] = DECODINGS,
    warnings: Sequence[str] = (),
    resamples: int = RESAMPLES,
) -> ComparisonTable:
    """Compare evaluations: mean over seeds with 95 % intervals; a method without an averaged column has no average."""
    metrics = _metrics(runs, convention)
    averaged = averaged_columns(convention, tuple(metrics))
    grouped = by_method(runs)
    order = sorted(grouped, key=lambda key: place_of(key.method))
    names = row_names(order)
    table = ComparisonTable(
        columns=(*metrics, AVERAGE) if len(averaged) > 1 else tuple(metrics),
        metrics=metrics,
        decodings=tuple(decodings),
        rows=[_row(key, names[key], grouped[key], metrics, averaged, decodings, resamples) for key in order],
        convention=convention,
        warnings=tuple(warnings),
    )
    return _against_best(table, resamples)


def marks(table: ComparisonTable) -> dict[tuple[int, Position], Mark]:
    """(row number, position) -> best or second, by the value as shown; equal values share their mark.

    A method whose answers could not be read is not ranked: its number is what a metric gives for nothing.
    """
    return {
        (number, position): mark
        for position in table.positions
        for number, mark in ranked(_values(table, position)).items()
    }


def ranked(values: Mapping[Rival, float]) -> dict[Rival, Mark]:
    """Who is best and who is second, by the value as shown, higher being better; equal values share their mark.

    Nobody is where there is nothing to choose: fewer than two rivals, all of them equal, or the best at 0.0.

    Example:
        >>> ranked({"a": 0.5, "b": 0.7, "c": 0.2}), ranked({"a": 0.0, "b": 0.0}), ranked({"a": 0.7, "b": 0.7})
        ({'a': 'second', 'b': 'best'}, {}, {})
    """
    shown = {rival: float(shown_value(value)) for rival, value in values.items()}
    ranking = sorted(set(shown.values()), reverse=True)
    if len(ranking) < 2 or ranking[0] == 0.0:
        return {}
    names: tuple[Mark, Mark] = ("best", "second")
    return {rival: names[ranking.index(value)] for rival, value in shown.items() if value in ranking[:2]}


def compare_rows(
    table: ComparisonTable, a: tuple[Row, str], b: tuple[Row, str], column: str, resamples: int = RESAMPLES
) -> Comparison:
    """(row, decoding) a minus b in one column or in the average, not corrected; raises UnpairedError."""
    metrics = {name: table.metrics[name] for name in (table.averaged if column == AVERAGE else (column,))}
    sides = [{name: cells_by_seed(row.runs, (name, decoding)) for name in metrics} for row, decoding in (a, b)]
    return compare_sides(sides[0], sides[1], metrics, resamples)


def mean_summary(row: Row, position: Position, name: str) -> float | None:
    """Mean over seeds of ``malformed``, ``strict_malformed`` or ``quality`` at one position; None without one."""
    found = [cell.summary.get(name) for cell in cells_by_seed(row.runs, position).values()]
    values = [value["value"] if isinstance(value, Mapping) else value for value in found if value is not None]
    return fmean(values) if values else None


def summary_at(table: ComparisonTable, row: Row, position: Position, name: str) -> float | None:
    """As :func:`mean_summary`; at the average, the mean over the columns that count in it and have one."""
    column, decoding = position
    if column != AVERAGE:
        return mean_summary(row, position, name)
    found = [mean_summary(row, (each, decoding), name) for each in table.averaged]
    known = [value for value in found if value is not None]
    return fmean(known) if known else None


def differing_formats(a: Row, b: Row) -> tuple[str, str] | None:
    """The answer formats of two rows where both are known and differ; a difference is then not of the methods alone."""
    formats = (a.key.format, b.key.format)
    return formats if all(formats) and formats[0] != formats[1] else None


def _metrics(runs: Sequence[EvalRun], convention: str) -> dict[str, tuple[str, ...]]:
    """Column -> its metrics, columns in order of appearance."""
    cells: dict[str, CellData] = {}
    for run in runs:
        for (column, _), cell in run.cells.items():
            cells.setdefault(column, cell)
    return {column: scored_metrics(convention, cell.metrics) for column, cell in cells.items()}


def _against_best(table: ComparisonTable, resamples: int) -> ComparisonTable:
    """The table with its ties, and with what cannot be compared with the best, or is of another answer format."""
    found: dict[tuple[int, Position], Comparison | None] = {}
    other: set[tuple[int, Position]] = set()
    pairs = 0
    for position in table.positions:
        values = _values(table, position)
        if "best" not in ranked(values).values():
            continue
        best = max(values, key=lambda number: values[number])
        pairs += len(values) * (len(values) - 1) // 2
        for number in values:
            if number != best:
                found[number, position] = _to_best(table, best, number, position, resamples)
                other |= {(number, position)} if differing_formats(table.rows[number], table.rows[best]) else set()
    tested = {place: compared for place, compared in found.items() if compared is not None}
    corrected = zip(tested, correct(list(tested.values()), pairs), strict=True)
    ties = frozenset(place for place, compared in corrected if not compared.test.is_significant)
    untested = frozenset(found.keys() - tested.keys())
    return replace(table, ties=ties, untested=untested, other_format=frozenset(other))


def _values(table: ComparisonTable, position: Position) -> dict[int, float]:
    """Row number -> value at one position, of the rows with at least one answer that could be read."""
    scored = {number: row for number, row in enumerate(table.rows) if position in row.scores}
    return {
        number: row.scores[position].value
        for number, row in scored.items()
        if mean_summary(row, position, "malformed") != 1.0
    }


def _to_best(table: ComparisonTable, best: int, number: int, position: Position, resamples: int) -> Comparison | None:
    """The best row minus another; None where they cannot be paired."""
    column, decoding = position
    try:
        sides = [(table.rows[place], decoding) for place in (best, number)]
        return compare_rows(table, sides[0], sides[1], column, resamples)
    except UnpairedError:
        return None


def _row(
    key: MethodKey,
    name: str,
    runs: Sequence[EvalRun],
    metrics: Mapping[str, tuple[str, ...]],
    averaged: Sequence[str],
    decodings: Sequence[str],
    resamples: int,
) -> Row:
    scores: dict[Position, Estimate] = {}
    by_seed: dict[Position, Mapping[int, float]] = {}
    for decoding in decodings:
        found = {column: cells_by_seed(runs, (column, decoding)) for column in metrics}
        draws = {column: draws_of(cells, metrics[column], resamples) for column, cells in found.items() if cells}
        scores |= {(column, decoding): possible(drawn, metrics[column]) for column, drawn in draws.items()}
        by_seed |= {
            (name, decoding): dict(zip(found[name], drawn.values.tolist(), strict=True))
            for name, drawn in draws.items()
        }
        parts = [draws[column] for column in averaged if column in draws]
        if len(parts) == len(averaged) > 1 and len({tuple(found[column]) for column in averaged}) == 1:
            names = tuple(chain(*(metrics[column] for column in averaged)))
            scores[AVERAGE, decoding] = possible(mean_of(parts), names)
    seeds = tuple(sorted({run.seed for run in runs}))
    starts = [run.start_accuracy for run in runs if run.start_accuracy is not None]
    return Row(key, name, scores, _cost(runs, seeds), seeds, runs, by_seed, fmean(starts) if starts else None)


def possible(draws: SeedDraws, metrics: Sequence[str]) -> Estimate:
    """The interval within what the metrics can be: shares from 0, correlations from -1, to 1."""
    return estimate(draws, 0.0 if SHARES.issuperset(metrics) else -1.0, 1.0)


def _cost(runs: Sequence[EvalRun], seeds: Sequence[int]) -> dict[str, float]:
    """Added up over a seed's runs (one a task in single-task training), shared stages once; mean over seeds."""
    totals = [Cost.together(run.cost for run in runs if run.seed == seed).totals() for seed in seeds]
    return {name: fmean(total[name] for total in totals) for name in COSTS}


def headline(table: ComparisonTable) -> str:
    """The column that stands for the whole table: the average, unless fewer than two rows have one.

    Then it is the column of the most rows, and of those the average or the first.
    """
    rows = {
        column: sum(any(place[0] == column for place in row.scores) for row in table.rows) for column in table.columns
    }
    if rows.get(AVERAGE, 0) >= 2:
        return AVERAGE
    return max(sorted(rows, key=lambda column: column != AVERAGE), key=lambda column: rows[column])
