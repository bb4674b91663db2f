"""One method against another, item by item: the difference with its interval, and the test of it.

One test asks whether the difference would be there again with new seeds and new test items: two-sided, from the two
variances of ``statistics.py``. Interval and p-value come from the same function, and both are corrected for all
comparisons that are read together (Holm), so the interval excludes zero exactly where the corrected p-value is below
0.05. With one seed the test is over items alone: it holds for those runs, and says little of the methods.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from rewardlab.comparison.cells import CellData, coded
from rewardlab.comparison.significance import PairedTest, SeedItems, effect_size, holm
from rewardlab.comparison.statistics import (
    RESAMPLES,
    Estimate,
    UnpairedError,
    draws_of,
    estimate,
    mean_of,
    paired_seeds,
)
from rewardlab.intervals import SIGNIFICANT
from rewardlab.metrics import SHARES

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
) -> Comparison:
    """Compare two methods in one column, or in the mean over several; the correction stands for one comparison.

    Args:
        a, b: The methods' cells; the seeds that both have are compared.
        metrics: The columns to compare, and for each the metrics whose mean is its number.
        resamples: Bootstrap resamples over items.
    Raises:
        UnpairedError: No seed in common, other test items, or columns that have other seeds in common.
    """
    seeds = {column: paired_seeds(a.get(column, {}), b.get(column, {})) for column in metrics}
    if len(set(seeds.values())) > 1:
        raise UnpairedError("their columns have different seeds in common")
    sides = [{column: {seed: side[column][seed] for seed in seeds[column]} for column in metrics} for side in (a, b)]
    left, right = (
        mean_of([draws_of(side[column], metrics[column], resamples) for column in metrics]) for side in sides
    )
    names = list(chain(*metrics.values()))
    widest = 1.0 if SHARES.issuperset(names) else 2.0
    found = estimate(left.minus(right), -widest, widest)
    level, p = float(left.values.mean()), found.p_value()
    effect = effect_size(names, level, level - found.value)
    return Comparison(found, PairedTest(p, p, by_seed=_won_and_lost(sides, metrics), effect=effect))


def correct(found: Sequence[Comparison], family: int | None = None) -> list[Comparison]:
    """The same comparisons, p-values and intervals corrected over all of them (Holm).

    Args:
        found: The comparisons.
        family: How many hypotheses there are where not all have a comparison here.
    """
    size = len(found) if family is None else family
    return [
        replace(
            each,
            estimate=each.estimate.at(corrected.level),
            test=replace(each.test, p_holm=corrected.p, family=size),
        )
        for each, corrected in zip(found, holm([each.test.p for each in found], size), strict=True)
    ]


def _won_and_lost(sides: Sequence[Side], metrics: Mapping[str, tuple[str, ...]]) -> tuple[SeedItems, ...]:
    """Items that one method alone answered right, seed by seed; for the accuracy of one column."""
    if list(metrics.values()) != [("accuracy",)]:
        return ()
    (column,) = metrics
    return tuple(_items(seed, cell, sides[1][column][seed]) for seed, cell in sides[0][column].items())


def _items(seed: int, a: CellData, b: CellData) -> SeedItems:
    first, second = (coded(each, "accuracy").gold == coded(each, "accuracy").predicted for each in (a, b))
    return SeedItems(seed, int((first & ~second).sum()), int((second & ~first).sum()))
