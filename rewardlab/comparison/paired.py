"""One method against another, item by item: the difference with its interval, the test of it, and its effect size.

One test asks whether the difference would be there again with new seeds and new test items: two-sided, from the two
variances of ``statistics.py``. Interval and p-value come from the same function, and both are corrected for all
comparisons that are read together (Holm), so the interval excludes zero exactly where the corrected p-value is below
0.05. With one seed the test is over items alone: it holds for those runs, and says little of the methods.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, chain
from typing import Literal

import numpy as np

from rewardlab.comparison.evaluations import CellData, coded
from rewardlab.comparison.statistics import (
    RESAMPLES,
    Estimate,
    UnpairedError,
    draws_of,
    estimate,
    mean_of_tasks,
    paired_seeds,
)
from rewardlab.intervals import SIGNIFICANT
from rewardlab.metrics import SHARES

EffectName = Literal["h", "q"]
_STEPS: dict[EffectName, tuple[float, float, float]] = {"h": (0.2, 0.5, 0.8), "q": (0.1, 0.3, 0.5)}
_SIZES = ("negligible", "small", "medium", "large")


@dataclass(frozen=True, slots=True)
class SeedItems:
    """Items on which two methods differ in one seed.

    Attributes:
        seed: The seed both methods were trained with.
        only_a, only_b: Items that only the one, or only the other, answered right.
    """

    seed: int
    only_a: int
    only_b: int


@dataclass(frozen=True, slots=True)
class Effect:
    """How large a difference is, whatever the number of items.

    Attributes:
        name: ``h`` for shares (accuracy, F1), ``q`` for correlations.
        value: Signed; 0 is no difference.
    Source:
        Cohen 1988, chapters 4 (q) and 6 (h), whose words for the sizes these are.
    """

    name: EffectName
    value: float

    @property
    def size(self) -> str:
        """``negligible``, ``small``, ``medium`` or ``large``."""
        return _SIZES[sum(abs(self.value) >= step for step in _STEPS[self.name])]


@dataclass(frozen=True, slots=True)
class PairedTest:
    """What the test of one difference says.

    Attributes:
        p: Of "there is no difference", over new seeds and new items; with one seed, over new items.
        p_holm: ``p`` corrected over ``family`` comparisons; the one p-value that is printed.
        family: How many comparisons were corrected together.
        by_seed: Items won and lost in every seed, for accuracy; empty otherwise.
        effect: None where shares and correlations are averaged.
    """

    p: float
    p_holm: float
    family: int = 1
    by_seed: tuple[SeedItems, ...] = ()
    effect: Effect | None = None

    @property
    def is_significant(self) -> bool:
        """True when the corrected p-value is below 0.05."""
        return self.p_holm < SIGNIFICANT


@dataclass(frozen=True, slots=True)
class Corrected:
    """A p-value after Holm's correction.

    Attributes:
        p: Corrected.
        level: What its own p-value was compared with: 0.05 divided by the hypotheses that were left at its step, or
            at the step where the procedure stopped. An interval at this level excludes the tested value exactly where
            ``p`` is below 0.05.
    """

    p: float
    level: float


def holm(p_values: Sequence[float], family: int | None = None) -> list[Corrected]:
    """p-values corrected for their number, in their order; the chance of one false claim among all stays below 5 %.

    Args:
        p_values: Those that were worked out.
        family: How many hypotheses there are; those without a p-value here count as not rejected. Default: as many as
            there are p-values.
    Source:
        Holm 1979.
    Example:
        0.01 * 3; 0.03 * 2; 0.04 * 1, but not below the one before:

        >>> [each.p for each in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]
    """
    size = len(p_values) if family is None else family
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    times = [p_values[place] * (size - rank) for rank, place in enumerate(order)]
    rejected = next((rank for rank, p in enumerate(times) if p >= SIGNIFICANT), len(order))
    largest = accumulate((min(1.0, p) for p in times), max)
    corrected = {
        place: Corrected(p, SIGNIFICANT / (size - min(rank, rejected)))
        for rank, (place, p) in enumerate(zip(order, largest, strict=True))
    }
    return [corrected[place] for place in range(len(order))]


def effect_size(metrics: Sequence[str], a: float, b: float) -> Effect | None:
    """Cohen's h of two shares or q of two correlations; None when ``metrics`` mixes the two.

    Args:
        metrics: What ``a`` and ``b`` are means of.
        a, b: The methods' values, means over seeds.
    """
    kinds = {metric in SHARES for metric in metrics}
    if len(kinds) != 1:
        return None
    if kinds == {True}:
        return Effect("h", 2 * float(np.arcsin(np.sqrt(a)) - np.arcsin(np.sqrt(b))))
    limit = 1 - 1e-9
    return Effect("q", float(np.arctanh(np.clip(a, -limit, limit)) - np.arctanh(np.clip(b, -limit, limit))))


Side = Mapping[str, Mapping[int, CellData]]
"""Column -> seed -> predictions of one method under one decoding."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One method minus another: the interval and the test, paired by item and seed.

    Attributes:
        estimate: The difference; its interval is corrected as its test is, see :func:`correct`.
    """

    estimate: Estimate
    test: PairedTest

    @property
    def alone(self) -> Estimate:
        """The difference with its own 95 % interval, as if nothing else had been compared."""
        return self.estimate.at(SIGNIFICANT)


def compare_sides(
    a: Side,
    b: Side,
    metrics: Mapping[str, tuple[str, ...]],
    resamples: int = RESAMPLES,
    tasks: Sequence[Sequence[str]] | None = None,
) -> Comparison:
    """Compare two methods in one column, or in the mean over several; the correction stands for one comparison.

    Args:
        a, b: The methods' cells; the seeds that both have are compared.
        metrics: The columns to compare, and for each the metrics whose mean is its number.
        resamples: Bootstrap resamples over items.
        tasks: The columns of each task, where a task has several; default: each column is one.
    Raises:
        UnpairedError: No seed in common, other test items, or columns that have other seeds in common.
    """
    seeds = {column: paired_seeds(a.get(column, {}), b.get(column, {})) for column in metrics}
    if len(set(seeds.values())) > 1:
        raise UnpairedError("their columns have different seeds in common")
    sides = [{column: {seed: side[column][seed] for seed in seeds[column]} for column in metrics} for side in (a, b)]
    left, right = (
        mean_of_tasks(
            {column: draws_of(side[column], metrics[column], resamples) for column in metrics},
            tasks or [(column,) for column in metrics],
        )
        for side in sides
    )
    names = list(chain(*metrics.values()))
    widest = 1.0 if SHARES.issuperset(names) else 2.0
    difference = estimate(left.minus(right), -widest, widest)
    level, p = float(left.values.mean()), difference.p_value()
    effect = effect_size(names, level, level - difference.value)
    return Comparison(difference, PairedTest(p, p, by_seed=_won_and_lost(sides, metrics), effect=effect))


def correct(comparisons: Sequence[Comparison], family: int | None = None) -> list[Comparison]:
    """The same comparisons, p-values and intervals corrected over all of them (Holm).

    Args:
        comparisons: The comparisons.
        family: How many hypotheses there are where not all have a comparison here.
    """
    size = len(comparisons) if family is None else family
    return [
        replace(
            each,
            estimate=each.estimate.at(corrected.level),
            test=replace(each.test, p_holm=corrected.p, family=size),
        )
        for each, corrected in zip(comparisons, holm([each.test.p for each in comparisons], size), strict=True)
    ]


def _won_and_lost(sides: Sequence[Side], metrics: Mapping[str, tuple[str, ...]]) -> tuple[SeedItems, ...]:
    """Items that one method alone answered right, seed by seed; for the accuracy of one column."""
    if list(metrics.values()) != [("accuracy",)]:
        return ()
    (column,) = metrics
    found = []
    for seed in sides[0][column]:
        codes = [coded(side[column][seed], "accuracy") for side in sides]
        first, second = (code.gold == code.predicted for code in codes)
        found.append(SeedItems(seed, int((first & ~second).sum()), int((second & ~first).sum())))
    return tuple(found)
