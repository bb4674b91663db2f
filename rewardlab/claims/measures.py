"""What claims compare, measured from runs: a difference, a ratio or a share, each with its 95 % interval.

Every measure gives a statistic per seed on all items and on resamples of them, or per seed alone, so that
``statistics.estimate`` makes all intervals. S seeds, B resamples, n items.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np

from rewardlab.claims.claim import Claim, MeasureName
from rewardlab.comparison.evaluations import CellData, Position
from rewardlab.comparison.grid import Source, all_sources
from rewardlab.comparison.label_shares import distance_draws
from rewardlab.comparison.runs import LOGGED, LeftOut, trained_folder, trained_once
from rewardlab.comparison.statistics import (
    Estimate,
    SeedDraws,
    draws_of,
    estimate,
    mean_of_tasks,
    measured,
    paired_seeds,
)
from rewardlab.comparison.table import AVERAGE, ComparisonTable, Row, differing_formats
from rewardlab.disk import read_json
from rewardlab.errors import InputError, RunFolderError
from rewardlab.evaluation.answers import PREDICTIONS_FILE, read_predictions
from rewardlab.evaluation.cost import device_seconds
from rewardlab.judge.verdicts import JudgedRun, net_estimate, of_one_judge
from rewardlab.metrics import SHARES, Floats
from rewardlab.reward_models.over_seeds import NO_CARDS, Cards

Cells = Mapping[int, CellData]
"""Seed -> cell."""


class UntestableError(InputError):
    """A claim that the runs say nothing of; the message says why."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A size, the runs behind it, and what a reader must know to read it."""

    estimate: Estimate
    sources: Sequence[Source] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What claims are measured on.

    Attributes:
        table: The comparison; without rows for a suite of reward models alone.
        judged: Comparisons by a judge.
        pair_kinds: (base model, task or the average) -> share of rationale-sensitive pairs among the readable ones.
        cards: Report cards of reward models.
        left_out: Takes a line for verdicts that are not counted.
    """

    table: ComparisonTable
    judged: Sequence[JudgedRun] = ()
    pair_kinds: Mapping[tuple[str, str], Measured] = field(default_factory=dict)
    cards: Cards = NO_CARDS
    left_out: LeftOut = LOGGED
    _called: Mapping[str, Sequence[Row]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        called: dict[str, list[Row]] = {}
        for row in self.table.rows:
            for name in {row.name, row.key.method}:
                called.setdefault(name, []).append(row)
        object.__setattr__(self, "_called", called)

    def row(self, method: str | None, model: str) -> Row:
        """The row of a method with a base model, or of one without; raises UntestableError for none or several.

        ``method`` may be a row's own name, which distinguishes two rows of one method.
        """
        rows = [row for row in self._called.get(method or "", ()) if row.key.model in (model, "")]
        named = [row for row in rows if row.name == method] or rows
        if len(named) != 1:
            raise UntestableError(
                f"{len(named) or 'no'} rows are called {method}" + (f" with {model}" if model else "")
            )
        (row,) = named
        return row


def measure(claim: Claim, model: str, evidence: Evidence) -> Measured:
    """The size of a claim for one base model.

    Raises:
        UntestableError, UnpairedError: It cannot be measured on these runs, and why.
    """
    if claim.not_testable:
        raise UntestableError(claim.not_testable)
    return MEASURES[claim.measure](claim, model, evidence)


def _accuracy(claim: Claim, model: str, evidence: Evidence) -> Measured:
    metrics = evidence.table.metrics
    used = chain(*(metrics[column] for column in columns_of(claim, evidence.table)))
    widest = 1.0 if SHARES.issuperset(used) else 2.0
    return _difference(claim, model, evidence, lambda column, cells, _: draws_of(cells, metrics[column]), widest)


def _label_shift(claim: Claim, model: str, evidence: Evidence) -> Measured:
    """How much nearer the better method's label shares lie to gold's."""

    def nearness(column: str, cells: Cells, _: Row) -> SeedDraws:
        if any(not cell.labels for cell in cells.values()):
            raise UntestableError(f"{column} has numbers, no labels")
        drawn = distance_draws(cells)
        return replace(drawn, values=-drawn.values, draws=-drawn.draws)

    return _difference(claim, model, evidence, nearness)


def _quality(claim: Claim, model: str, evidence: Evidence) -> Measured:
    def quality(column: str, cells: Cells, row: Row) -> SeedDraws:
        known = {cell: _qualities(row, cell, (column, claim.decoding)) for cell in cells.values()}
        return measured(cells, lambda cell, counts: _weighted(known[cell], counts))

    return _difference(claim, model, evidence, quality)


def _difference(
    claim: Claim,
    model: str,
    evidence: Evidence,
    draws: Callable[[str, Cells, Row], SeedDraws],
    widest: float = 1.0,
) -> Measured:
    """Better minus than in the claim's column, in points; it lies within ``widest`` of 0."""
    better, than = _sides(claim, model, evidence)
    parts: dict[str, SeedDraws] = {}
    compared = set()
    for column in columns_of(claim, evidence.table):
        a, b = (row.cells.get((column, claim.decoding), {}) for row in (better, than))
        seeds = paired_seeds(a, b)
        compared.add(seeds)
        left, right = ({seed: side[seed] for seed in seeds} for side in (a, b))
        parts[column] = draws(column, left, better).minus(draws(column, right, than))
    if len(compared) > 1:
        raise UntestableError(f"{better.name} and {than.name} share other seeds in other columns")
    tasks = evidence.table.tasks if claim.column == AVERAGE else ((claim.column,),)
    difference = estimate(mean_of_tasks(parts, tasks), -widest, widest)
    return Measured(in_points(difference), [*all_sources(better), *all_sources(than)])


def _seconds(claim: Claim, model: str, evidence: Evidence) -> Measured:
    """Training time of the one over that of the other; Student's t on the logarithms of the seeds' ratios."""
    rows = _sides(claim, model, evidence)
    seconds = [_training_seconds(row) for row in rows]
    seeds = sorted(set(seconds[0]) & set(seconds[1]))
    if len(seeds) < 2:
        raise UntestableError(f"seeds with both times: {len(seeds)}; the interval of a ratio needs 2")
    logs = estimate(_of_seeds([math.log(seconds[0][seed] / seconds[1][seed]) for seed in seeds]))
    ratio = replace(logs, value=math.exp(logs.value), sd=None, is_ratio=True)
    return Measured(ratio.at(ratio.level), [source for row in rows for source in all_sources(row)])


def _pair_kinds(claim: Claim, model: str, evidence: Evidence) -> Measured:
    """Share of rationale-sensitive pairs among the readable samples of the SFT model, in per cent."""
    shares = {column: share for (base, column), share in evidence.pair_kinds.items() if base == model}
    if claim.column not in shares:
        raise UntestableError(_without_share(claim.column, list(shares)))
    share = shares[claim.column]
    return replace(share, estimate=in_points(share.estimate))


def _without_share(column: str, known: Sequence[str]) -> str:
    there = ", ".join(known)
    if there and column == AVERAGE:
        return f"the share has no average over {there}; it takes two tasks or more, sampled in the same seeds"
    return f"no pairs were sampled from an SFT model for {column}; there are {there or 'none'}"


def _rank_accuracy(claim: Claim, model: str, evidence: Evidence) -> Measured:
    """How much more of the pairs of one test set the better reward model ranks right, in points."""
    cards = evidence.cards
    if unknown := [name for name in claim.methods if (name, model) not in cards.names]:
        raise UntestableError(f"{unknown[0]} has no report card" + (f" with {model}" if model else ""))
    better, than = (cards.names[name, model] for name in claim.methods)
    difference = cards.difference(better, than, claim.test_set, claim.column)
    if difference.estimate is None:
        raise UntestableError(difference.reason)
    sources = [Source(run.path) for name in (better, than) for run in cards.folders(name)]
    return Measured(in_points(difference.estimate), sources)


def _judged(claim: Claim, model: str, evidence: Evidence) -> Measured:
    """Items won less items lost before a judge."""
    better, than = _sides(claim, model, evidence)
    judged = [run for run in evidence.judged if run.is_between(better, than, claim.decoding)]
    if not judged:
        raise UntestableError(f"no judge has compared {better.name} with {than.name}, {claim.decoding} decoding")
    used = of_one_judge(judged, evidence.left_out)
    net = net_estimate(used, better, columns_of(claim, evidence.table))
    return Measured(in_points(net), [Source(run.path) for run in used])


MEASURES: Mapping[MeasureName, Callable[[Claim, str, Evidence], Measured]] = {
    "accuracy": _accuracy,
    "quality": _quality,
    "judged": _judged,
    "label shift": _label_shift,
    "seconds": _seconds,
    "pair kinds": _pair_kinds,
    "rm accuracy": _rank_accuracy,
}


def _sides(claim: Claim, model: str, evidence: Evidence) -> tuple[Row, Row]:
    """The rows of both methods; raises UntestableError where their answers are of different formats."""
    better, than = (evidence.row(name, model) for name in claim.methods)
    formats = differing_formats(better, than)
    if formats and not claim.across_formats:
        told = f"{better.name} answers in {formats[0]}, {than.name} in {formats[1]}"
        raise UntestableError(f"formats differ ({told})")
    return better, than


def columns_of(claim: Claim, table: ComparisonTable) -> list[str]:
    """The columns that a claim is about; raises UntestableError when the table lacks one."""
    if claim.column == AVERAGE:
        if not table.averaged:
            raise UntestableError(f"no column counts in the average of convention {table.convention}")
        return list(table.averaged)
    if claim.column not in table.metrics:
        raise UntestableError(f"no column {claim.column}; there are {', '.join(table.metrics)}")
    return [claim.column]


def in_points(share: Estimate) -> Estimate:
    """Times 100."""
    scaled = {name: 100 * getattr(share, name) for name in ("value", "low", "high", "lowest", "highest")}
    spread = None if share.spread is None else share.spread.times(100)
    return replace(share, **scaled, sd=None if share.sd is None else 100 * share.sd, spread=spread)


def _of_seeds(values: Sequence[float]) -> SeedDraws:
    """A statistic that seeds alone vary."""
    return SeedDraws(np.array(values), np.stack([values, values], axis=1))


def _training_seconds(row: Row) -> dict[int, float]:
    """Seed -> seconds that its trained stages took themselves, without what they started from."""
    seconds: dict[int, float] = {}
    for run in trained_once(row.runs):
        folder = trained_folder(run)
        if folder is None:
            raise UntestableError(f"{row.name}: its trained runs are not there to read times from")
        try:
            took = device_seconds(read_json(folder / "result.json"), str(folder))
        except RunFolderError as error:
            raise UntestableError(str(error)) from error
        seconds[run.seed] = seconds.get(run.seed, 0.0) + took
    if not all(seconds.values()):
        raise UntestableError(f"{row.name}: a trained run has no time")
    return seconds


def _qualities(row: Row, cell: CellData, position: Position) -> Floats:
    """Rationale quality of each item of a cell, NaN where the answer has none. Shape (n,)."""
    stored = cell.quality
    if stored is None:
        known = _qualities_of_predictions(row, cell, position)
        stored = tuple(known.get(id) for id in cell.ids)
    qualities = np.array([np.nan if value is None else value for value in stored], dtype=np.float64)
    if np.isnan(qualities).all():
        raise UntestableError(f"{row.name}: no rationale quality is known in {position[0]}")
    return qualities


def _qualities_of_predictions(row: Row, cell: CellData, position: Position) -> dict[str, float | None]:
    """Id -> quality, of a folder that does not have it beside its answers; empty where texts were not brought along."""
    folder = next(run.path for run in row.runs if run.cells.get(position) is cell)
    if not (folder / PREDICTIONS_FILE).exists():
        return {}
    lines = (line for line in read_predictions(folder) if (line["column"], line["decoding"]) == position)
    return {str(line["id"]): line["quality"] for line in lines}


def _weighted(values: Floats, counts: Floats) -> Floats:
    """Mean of the values that are there, under counts of shape (B, n). Shape (B,)."""
    is_there = ~np.isnan(values)
    return np.asarray((counts @ np.where(is_there, values, 0.0)) / (counts @ is_there), dtype=np.float64)
