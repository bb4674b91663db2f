"""The comparison as data: methods x columns x decodings, with intervals, marks and costs.

Rows are ordered and named in ``method_names.py``; ``grid.py``, ``notes.py`` and ``frames.py`` say what is printed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from statistics import fmean
from typing import Literal, TypeVar

from rewardlab.comparison.conventions import averaged_columns, averaged_tasks, scored_metrics
from rewardlab.comparison.evaluations import CellData, EvalRun, MethodKey, Position
from rewardlab.comparison.method_names import place_of, row_names
from rewardlab.comparison.numbers import shown_value
from rewardlab.comparison.paired import Comparison, compare_sides, correct
from rewardlab.comparison.statistics import (
    RESAMPLES,
    Estimate,
    UnpairedError,
    draws_of,
    mean_of_tasks,
    possible,
)
from rewardlab.evaluation.cost import Cost

AVERAGE = "average"
DECODINGS = ("sampled", "greedy")
COSTS = ("gold_labels", "annotator_calls", "seconds")
SUMMARIES = ("malformed", "strict_malformed", "unfinished", "quality")
"""What an evaluation stores of a cell beside its metrics."""
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
        cells: (column, decoding) -> seed -> predictions; of two folders of a seed, those of the later one.
        summaries: (column, decoding) -> name -> what evaluations store beside metrics (:data:`SUMMARIES`), mean over
            seeds, and of the average over the columns that count in it; a name that no seed has is absent.
        by_seed: (column, decoding) -> seed -> that seed's number; not for the average.
        start_accuracy: Of PPO, before its first update: greedy on validation rows, mean over runs; None without one.
    """

    key: MethodKey
    name: str
    scores: Mapping[Position, Estimate]
    cost: Mapping[str, float]
    seeds: tuple[int, ...]
    runs: Sequence[EvalRun]
    cells: Mapping[Position, Mapping[int, CellData]]
    summaries: Mapping[Position, Mapping[str, float]]
    by_seed: Mapping[Position, Mapping[int, float]]
    start_accuracy: float | None = None


@dataclass(frozen=True, slots=True)
class ComparisonTable:
    """Methods x columns under each decoding.

    Attributes:
        columns: Columns in order; the last is ``average`` when two or more count in it.
        metrics: Column -> the metrics whose mean it shows.
        decodings: ``sampled``, ``greedy`` or both.
        rows: Methods in the order of :data:`~rewardlab.comparison.method_names.METHOD_ORDER`.
        convention: ``rllr``, ``ppo-nlu`` or ``leaderboard``.
        warnings: What the reader should know about the runs.
        ties: (row number, position) of values that do not differ significantly from the best one there, corrected
            over all pairs of rows in the whole table: the best one was chosen by looking at all of them.
        untested: (row number, position) of values that cannot be compared with the best one there: other seeds, or
            other test items.
        other_format: (row number, position) of values in another answer format than the best one there.
        marks: (row number, position) -> best or second, by the value as shown; equal values share their mark. A row
            whose answers could not be read is not ranked: its number is what a metric gives for nothing.
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
    marks: Mapping[tuple[int, Position], Mark] = field(default_factory=dict)

    @property
    def averaged(self) -> tuple[str, ...]:
        """The columns that count in the average, by the convention."""
        return averaged_columns(self.convention, tuple(self.metrics))

    @property
    def tasks(self) -> tuple[tuple[str, ...], ...]:
        """The columns of each task that counts in the average."""
        return averaged_tasks(self.convention, tuple(self.metrics))

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
    measured: dict[str, tuple[str, ...]] = {}
    for run in runs:
        for (column, _), cell in run.cells.items():
            measured.setdefault(column, cell.metrics)
    metrics = {column: scored_metrics(convention, each) for column, each in measured.items()}
    tasks = averaged_tasks(convention, tuple(metrics))
    grouped: dict[MethodKey, list[EvalRun]] = {}
    for run in runs:
        grouped.setdefault(run.key, []).append(run)
    order = sorted(grouped, key=lambda key: place_of(key.method))
    names = row_names(order)
    table = ComparisonTable(
        columns=(*metrics, AVERAGE) if len(tasks) > 1 else tuple(metrics),
        metrics=metrics,
        decodings=tuple(decodings),
        rows=[_row(key, names[key], grouped[key], metrics, tasks, decodings, resamples) for key in order],
        convention=convention,
        warnings=tuple(warnings),
    )
    return _against_best(table, resamples)


def ranked(values: Mapping[Rival, float]) -> dict[Rival, Mark]:
    """Who is best and who is second, by the value as shown, higher being better; equal values share their mark.

    No row is where there is nothing to choose: fewer than two rivals, all of them equal, or the best at 0.0.

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
    sides = [{name: row.cells.get((name, decoding), {}) for name in metrics} for row, decoding in (a, b)]
    tasks = table.tasks if column == AVERAGE else ((column,),)
    return compare_sides(sides[0], sides[1], metrics, resamples, tasks)


def differing_formats(a: Row, b: Row) -> tuple[str, str] | None:
    """The answer formats of two rows where both are known and differ; a difference is then not of the methods alone."""
    formats = (a.key.format, b.key.format)
    return formats if all(formats) and formats[0] != formats[1] else None


def _against_best(table: ComparisonTable, resamples: int) -> ComparisonTable:
    """The table with its marks and ties, and with what cannot be compared with the best, or is of another format."""
    tested: dict[tuple[int, Position], Comparison] = {}
    untested, other_format = set(), set()
    marks: dict[tuple[int, Position], Mark] = {}
    pairs = 0
    for position in table.positions:
        values = {
            number: row.scores[position].value
            for number, row in enumerate(table.rows)
            if position in row.scores and row.summaries.get(position, {}).get("malformed") != 1.0
        }
        marks |= {(number, position): mark for number, mark in ranked(values).items()}
        if "best" not in ranked(values).values():
            continue
        best = max(values, key=lambda number: values[number])
        pairs += len(values) * (len(values) - 1) // 2
        column, decoding = position
        for number, other in enumerate(table.rows):
            first = table.rows[best]
            if number == best or number not in values:
                continue
            try:
                tested[number, position] = compare_rows(table, (first, decoding), (other, decoding), column, resamples)
            except UnpairedError:
                untested.add((number, position))
            if differing_formats(other, first):
                other_format.add((number, position))
    corrected = zip(tested, correct(list(tested.values()), pairs), strict=True)
    ties = frozenset(place for place, compared in corrected if not compared.test.is_significant)
    aside = (frozenset(untested), frozenset(other_format))
    return replace(table, marks=marks, ties=ties, untested=aside[0], other_format=aside[1])


def _row(
    key: MethodKey,
    name: str,
    runs: Sequence[EvalRun],
    metrics: Mapping[str, tuple[str, ...]],
    tasks: Sequence[Sequence[str]],
    decodings: Sequence[str],
    resamples: int,
) -> Row:
    cells, averaged = _cells(runs), [*chain(*tasks)]
    summaries = {position: _summary(list(by_seed.values())) for position, by_seed in cells.items()}
    scores: dict[Position, Estimate] = {}
    by_seed: dict[Position, Mapping[int, float]] = {}
    for decoding in decodings:
        present = {column: cells[column, decoding] for column in metrics if (column, decoding) in cells}
        draws = {column: draws_of(present[column], metrics[column], resamples) for column in present}
        scores |= {(column, decoding): possible(drawn, metrics[column]) for column, drawn in draws.items()}
        by_seed |= {
            (name, decoding): dict(zip(present[name], drawn.values.tolist(), strict=True))
            for name, drawn in draws.items()
        }
        is_whole = all(column in draws for column in averaged)
        if is_whole and len(tasks) > 1 and len({tuple(present[column]) for column in averaged}) == 1:
            names = tuple(chain(*(metrics[column] for column in averaged)))
            scores[AVERAGE, decoding] = possible(mean_of_tasks(draws, tasks), names)
        summaries[AVERAGE, decoding] = _mean_by_name(
            [summaries[name, decoding] for name in averaged if name in present]
        )
    of_seeds: dict[int, list[EvalRun]] = {}
    for run in runs:
        of_seeds.setdefault(run.seed, []).append(run)
    seeds = tuple(sorted(of_seeds))
    # Added up over a seed's runs (one a task in single-task training), in which a shared stage counts once.
    costs = [Cost.together(run.cost for run in of_seeds[seed]).totals() for seed in seeds]
    cost = {name: fmean(each[name] for each in costs) for name in COSTS}
    starts = [run.start_accuracy for run in runs if run.start_accuracy is not None]
    return Row(key, name, scores, cost, seeds, runs, cells, summaries, by_seed, fmean(starts) if starts else None)


def _cells(runs: Sequence[EvalRun]) -> dict[Position, dict[int, CellData]]:
    """Position -> seed -> predictions, seeds sorted."""
    cells: dict[Position, dict[int, CellData]] = {}
    for run in sorted(runs, key=lambda run: run.seed):  # stable: of one seed the later run stays the later
        for position, cell in run.cells.items():
            cells.setdefault(position, {})[run.seed] = cell
    return cells


def _summary(cells: Sequence[CellData]) -> dict[str, float]:
    """Mean over seeds of what evaluations store beside metrics; quality comes with an interval of its own."""
    stored = [[(name, cell.summary.get(name)) for name in SUMMARIES] for cell in cells]
    return _mean_by_name(
        [
            {name: value["value"] if isinstance(value, Mapping) else value for name, value in each if value is not None}
            for each in stored
        ]
    )


def _mean_by_name(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Name -> mean over the parts that have it."""
    names = dict.fromkeys(chain(*parts))
    return {name: fmean(part[name] for part in parts if name in part) for name in names}


def headline(table: ComparisonTable) -> str:
    """The column that stands for the whole table: the average, unless fewer than two rows have one.

    Then it is the column of the most rows, and of those the average or the first. Of no columns it is the average.
    """
    rows = {
        column: sum(any(place[0] == column for place in row.scores) for row in table.rows) for column in table.columns
    }
    if rows.get(AVERAGE, 0) >= 2:
        return AVERAGE
    ordered = sorted(rows, key=lambda column: column != AVERAGE)
    return max(ordered, key=lambda column: rows[column], default=AVERAGE)


def method_names(table: ComparisonTable) -> dict[str, str]:
    """Name of a trained run's folder -> the row it was evaluated for; of several (last policy, best) the shortest."""
    rows = sorted(table.rows, key=lambda row: len(row.name), reverse=True)
    return {run.model_run.name: row.name for row in rows for run in row.runs if run.model_run is not None}
