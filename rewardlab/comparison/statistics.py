"""Intervals over seeds and test items, and paired differences between methods.

From two seeds on, a 95 % interval is over new seeds AND new test items; with one seed it is over test items only, and
says so: the seed then counts as given, and the interval is too narrow for a claim about the method.
Letters: S seeds, n items, B resamples.

Two sources of variance (a crossed random-effects analysis of variance of seeds by items, written over bootstrap draws
so that it holds for every metric):

* seeds: ``var(seed values) / S``, with S - 1 degrees of freedom. It holds the part of the item noise that differs
  between seeds.
* items that all seeds share, whose noise no comparison of seeds can see: the bootstrap measures it, less the share that
  was counted already, ``counted = (mean over seeds of var_items - var_items of the mean) / (S - 1)``.

How the two make an interval and a p-value is said in ``intervals.py``; what they cover, and how often a table of level
methods calls one better, is simulated by ``experiments/simulations/tables.py`` (results in ``experiments/LOG.md``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from rewardlab.comparison.evaluations import CACHED_CELLS, CellData, coded
from rewardlab.errors import InputError
from rewardlab.evaluation.answers import differing_gold
from rewardlab.intervals import SIGNIFICANT, Spread, item_counts, item_seed, resample_counts
from rewardlab.metrics import METRICS, SHARES, Floats

Basis = Literal["items", "seeds and items"]
RESAMPLES = 1000
ROUNDING = 1 / 12
"""Variance of a number that is uniform over a step of 1: what counting whole items hides."""
Measure = Callable[[CellData, Floats], Floats]
"""(cell, resampling counts of shape (B, n)) -> a statistic of shape (B,); a row of ones gives its plain value."""


class UnpairedError(InputError):
    """Two methods cannot be compared item by item; the message says why, and calls them "they"."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its interval.

    Attributes:
        value: Mean over seeds.
        low, high: The interval; ``basis`` says what it covers, ``level`` how often it misses.
        sd: Standard deviation over seeds; None for one seed.
        seeds: How many.
        spread: What the interval is made of; on the logarithm of a ratio. None: the interval cannot be widened.
        lowest, highest: Where the number can lie at all.
        is_ratio: Its spread is that of its logarithm.
        level: Probability with which the interval misses the truth; less than 0.05 where it is corrected for the
            number of comparisons that are read together.
    """

    value: float
    low: float
    high: float
    sd: float | None
    seeds: int
    basis: Basis
    spread: Spread | None = None
    lowest: float = -math.inf
    highest: float = math.inf
    is_ratio: bool = False
    level: float = SIGNIFICANT

    @property
    def excludes_zero(self) -> bool:
        """True when the whole interval lies on one side of zero."""
        return self.low > 0 or self.high < 0

    def at(self, level: float) -> Estimate:
        """The same number with the interval that misses the truth with probability ``level``."""
        if self.spread is None:
            return self
        half = self.spread.half_width(level)
        low, high = self.value - half, self.value + half
        if self.is_ratio:
            low, high = self.value * math.exp(-half), self.value * math.exp(min(half, 700.0))
        return replace(self, low=max(self.lowest, low), high=min(self.highest, high), level=level)

    def p_value(self, other: float = 0.0) -> float:
        """Two-sided p-value of "the number is ``other``"; not corrected. Needs a spread; no ratio is 0 or less."""
        if self.spread is None:
            raise ValueError("this estimate has no spread, so it has no p-value")
        if self.is_ratio:
            return self.spread.p_value(abs(math.log(self.value / other))) if other > 0 else 0.0
        return self.spread.p_value(abs(self.value - other))

    def stored(self) -> dict[str, Any]:
        """As reports store it: the number, its interval, and what the interval covers."""
        return {name: getattr(self, name) for name in ("value", "low", "high", "sd", "seeds", "basis", "level")}


@dataclass(frozen=True, slots=True)
class SeedDraws:
    """A statistic per seed, on all items and on resamples of them.

    Attributes:
        values: Shape (S,).
        draws: Shape (S, B); column b of every seed drew the same items, where seeds share items.
        item_df: Degrees of freedom of variances over items: items less columns.
        one_item: Variance that one item more would add in one seed, about 1/n^2.
        is_paired: It is a paired difference.
    """

    values: Floats
    draws: Floats
    item_df: float = math.inf
    one_item: float = 0.0
    is_paired: bool = False

    def minus(self, other: SeedDraws) -> SeedDraws:
        """Paired difference, seed by seed and resample by resample."""
        df, one_item = min(self.item_df, other.item_df), max(self.one_item, other.one_item)
        return SeedDraws(self.values - other.values, self.draws - other.draws, df, one_item, is_paired=True)


def draws_of(cells: Mapping[int, CellData], metrics: tuple[str, ...], resamples: int = RESAMPLES) -> SeedDraws:
    """The mean of ``metrics`` in each seed's cell, on all items and on every resample."""
    return of_cells(cells, [_cell_draws(cell, metrics, resamples) for cell in cells.values()])


def measured(cells: Mapping[int, CellData], measure: Measure, resamples: int = RESAMPLES) -> SeedDraws:
    """Any statistic in each seed's cell, on all items and on every resample; the resamples of :func:`draws_of`."""
    return of_cells(cells, [_measured(cell, measure, resamples) for cell in cells.values()])


def of_cells(cells: Mapping[int, CellData], statistics: Sequence[tuple[float | Floats, Floats]]) -> SeedDraws:
    """A statistic of each seed's cell: its value and its resampled values (B,), in the order of ``cells``."""
    items = len({id for drawn in {cell.groups or cell.ids for cell in cells.values()} for id in drawn})
    one_item = float(np.mean([cell.draws**-2.0 for cell in cells.values()]))
    values = np.array([float(value) for value, _ in statistics])
    return SeedDraws(values, np.stack([draws for _, draws in statistics]), items - 1, one_item)


def column_means(
    cells: Mapping[int, CellData], columns: Callable[[CellData], Floats], resamples: int = RESAMPLES
) -> list[tuple[Floats, Floats]]:
    """Means over the items of what ``columns`` says of them, shape (n, K): per seed (K,) and on every resample (B, K).

    Seeds with equal items are resampled in one product, which costs little more than that of a single seed.
    """
    said = {seed: columns(cell) for seed, cell in cells.items()}
    alike: dict[tuple[int, tuple[str, ...] | None], list[int]] = {}
    for seed, cell in cells.items():
        alike.setdefault((item_seed(cell.column, cell.ids, cell.gold), cell.groups), []).append(seed)
    drawn: dict[int, Floats] = {}
    for (drawn_by, groups), seeds in alike.items():
        counts = item_counts(len(said[seeds[0]]), resamples, drawn_by, groups)
        means = counts @ np.hstack([said[seed] for seed in seeds]) / counts.sum(axis=1, keepdims=True)
        ends = np.cumsum([said[seed].shape[1] for seed in seeds])[:-1]
        drawn |= dict(zip(seeds, np.split(means, ends, axis=1), strict=True))
    return [(said[seed].mean(axis=0), drawn[seed]) for seed in cells]


def row_draws(name: str, rows: tuple[str, ...], sums: Floats, sizes: Floats, resamples: int = RESAMPLES) -> SeedDraws:
    """A mean over what stands in rows, per seed; all seeds on the same resamples of rows, however many each has.

    Args:
        name: Equal names draw equal rows together.
        rows: Ids of all rows, sorted; a seed may lack some.
        sums, sizes: What stands in each row, added up, and how many that is; 0 where a seed lacks it. Shape (S, rows).
        resamples: B. Where one draws no row that a seed has, the seed's mean over all its rows stands in.
    """
    counts = resample_counts(len(rows), resamples, item_seed(name, rows, ()))
    values = sums.sum(axis=1) / sizes.sum(axis=1)
    held = sizes @ counts.T
    draws = np.divide(sums @ counts.T, held, out=np.tile(values, (resamples, 1)).T, where=held > 0)
    return SeedDraws(values, draws, len(rows) - 1, float(np.mean(1.0 / (sizes > 0).sum(axis=1) ** 2)))


def mean_of(parts: Sequence[SeedDraws]) -> SeedDraws:
    """The average column: mean over columns, seed by seed."""
    values = np.mean([part.values for part in parts], axis=0)
    return SeedDraws(
        values,
        np.mean([part.draws for part in parts], axis=0),
        sum(part.item_df for part in parts),
        sum(part.one_item for part in parts) / len(parts) ** 2,
        is_paired=all(part.is_paired for part in parts),
    )


def mean_of_tasks(draws: Mapping[str, SeedDraws], tasks: Sequence[Sequence[str]]) -> SeedDraws:
    """The average column where a task may have several columns: mean over tasks of the means of their columns."""
    return mean_of([mean_of([draws[column] for column in columns]) for columns in tasks])


def estimate(draws: SeedDraws, lowest: float = -math.inf, highest: float = math.inf) -> Estimate:
    """Mean over seeds with its 95 % interval, by the rule at the top of this file.

    Args:
        draws: The statistic.
        lowest, highest: Where it can lie at all; the interval ends there.
    """
    seeds, value = len(draws.values), float(draws.values.mean())
    sd = float(draws.values.std(ddof=1)) if seeds > 1 else None
    basis: Basis = "seeds and items" if seeds > 1 else "items"
    return Estimate(value, value, value, sd, seeds, basis, spread_of(draws), lowest, highest).at(SIGNIFICANT)


def spread_of(draws: SeedDraws) -> Spread:
    """The two variances of the mean over seeds.

    Seeds can agree to the last item although they are as far apart as half an item either way; two seeds of 100 items
    do so in a few cases of a hundred. What rounding hides is added to the variance between seeds.

    One item more is added to the variance over items of every seed (``intervals.item_spread``); of the mean over seeds
    it adds as large a part as the items themselves do, all of it where seeds answer alike, 1/S where they have nothing
    in common.
    """
    seeds, df = len(draws.values), draws.item_df
    unbiased = (df + 1) / df if 0 < df < math.inf else 1.0
    by_seed = float(draws.draws.var(axis=1, ddof=1).mean()) * unbiased
    of_mean = float(draws.draws.mean(axis=0).var(ddof=1)) * unbiased  # at most by_seed: a square is convex
    alike = of_mean / by_seed if by_seed > 0 else 1.0
    one_item = alike * draws.one_item
    smallest_p = 2.0**-df if draws.is_paired else 0.0
    if seeds == 1:
        return Spread(of_mean + one_item, df, items_alone=of_mean + one_item, smallest_p=smallest_p)
    counted = (by_seed - of_mean) / (seeds - 1)
    shared = max(0.0, of_mean - counted) + one_item
    over_seeds = (float(draws.values.var(ddof=1)) + draws.one_item * ROUNDING) / seeds
    return Spread(shared, df, over_seeds, seeds - 1, of_mean + one_item, smallest_p)


def paired_seeds(a: Mapping[int, CellData], b: Mapping[int, CellData]) -> tuple[int, ...]:
    """The seeds that two methods have in common in one column, sorted.

    Args:
        a, b: Seed -> predictions of each method.
    Raises:
        UnpairedError: No seed in common, or the test items or gold labels of a seed differ.
    """
    common = tuple(sorted(set(a) & set(b)))
    if not common:
        raise UnpairedError(f"they share no seed ({_listed(a)} against {_listed(b)}); run the same")
    for seed in common:
        _check_same_items(a[seed], b[seed], f"{a[seed].column}, seed {seed}")
    return common


@lru_cache(maxsize=CACHED_CELLS)
def _cell_draws(cell: CellData, metrics: tuple[str, ...], resamples: int) -> tuple[float, Floats]:
    """Value and resampled values (B,) of one cell; cached because differences and averages ask again."""
    codes = [(metric, coded(cell, metric)) for metric in metrics]
    return _measured(
        cell, lambda _, counts: np.mean([METRICS[metric](code, counts) for metric, code in codes], axis=0), resamples
    )


def _measured(cell: CellData, measure: Measure, resamples: int) -> tuple[float, Floats]:
    counts = item_counts(len(cell.ids), resamples, item_seed(cell.column, cell.ids, cell.gold), cell.groups)
    return measure(cell, np.ones((1, len(cell.ids)))).item(), measure(cell, counts)


def _check_same_items(a: CellData, b: CellData, where: str) -> None:
    if (a.ids, a.gold) == (b.ids, b.gold):
        return
    only = sorted(set(a.ids) ^ set(b.ids))
    if only or len(a.ids) != len(b.ids):
        shown = f"{len(only)} ids are in one of them only, such as {only[0]}" if only else "an id occurs twice"
        raise UnpairedError(f"{where}: test items differ ({shown}); evaluate both on the same test split")
    if told := differing_gold(zip(a.ids, a.gold, b.gold, strict=True)):
        raise UnpairedError(f"{where}: {told}; evaluate both on the same data")


def _listed(seeds: Mapping[int, CellData]) -> str:
    named = ", ".join(map(str, sorted(seeds)))
    return f"seed{'s' if len(seeds) > 1 else ''} {named}" if seeds else "none"


def possible(draws: SeedDraws, metrics: Sequence[str]) -> Estimate:
    """The interval within what the metrics can be: shares from 0, correlations from -1, to 1."""
    return estimate(draws, 0.0 if SHARES.issuperset(metrics) else -1.0, 1.0)
