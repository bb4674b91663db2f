"""Intervals of a metric and of a mean, the resamples they are made of, and the spread that intervals and tests share.

A number is uncertain for two reasons: other seeds would have trained another model, and other test items would have
been answered otherwise. :class:`Spread` holds a variance for each. Its half-width at a level and its p-value are one
function and its inverse, so an interval excludes a value exactly where the p-value of that value is below its level.

The half-width adds the squares of two parts, each with Student's t of its own degrees of freedom: S - 1 for seeds,
about n - 1 for items. Satterthwaite's approximation (one t, whose degrees of freedom follow from both estimates) asks
too little where a seed variance is small by chance: with two or three seeds its intervals cover 86 to 92 %
(``experiments/LOG.md``, 2026-11-29).

Two methods are compared on the same resamples by handing both the same counts (``comparison/statistics.py``); what
counts and metrics are stands in ``metrics.py``. Letters: n test items, S seeds, B resamples.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from rewardlab.calibration import CALIBRATIONS
from rewardlab.errors import DataError
from rewardlab.metrics import METRICS, SHARES, AnswerSpace, Floats, encode, measure
from rewardlab.types import Label

LEVEL = 0.95
SIGNIFICANT = 0.05
"""Level of tests, 1 - ``LEVEL``."""
SMALLEST_P = 1e-16
"""Smaller p-values are not told apart."""
BISECTIONS = 60
"""Halvings of the logarithm of a p-value, which leave it exact to about 1e-16 of itself."""
DRAWN_NUMBERS = 20_000_000
"""Observations times resamples that :func:`grouped_draws` may draw; with many observations fewer resamples do."""
FEWEST_RESAMPLES = 100
HELD_NUMBERS = 2_000_000
"""Observations times resamples that it holds in memory at a time."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A value and its two-sided 95 % interval."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """The three numbers by name."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True, slots=True)
class Spread:
    """How far a number would lie elsewhere with other seeds and other test items: two variances.

    Attributes:
        items: Variance over test items that is in no part of ``seeds``.
        item_df: Degrees of freedom of the item variances, about n - 1.
        seeds: Variance of the mean that the seeds show; 0 for one seed, which shows none.
        seed_df: S - 1; 0 for one seed.
        items_alone: Variance over test items, these seeds as given. The interval is never narrower than over items
            alone: seeds that agree by chance do not make the test set larger.
        smallest_p: No p-value is smaller. For a paired difference of n items, 2^(1 - n): what a test of signs says
            when all of them agree.
    """

    items: float
    item_df: float
    seeds: float = 0.0
    seed_df: int = 0
    items_alone: float = 0.0
    smallest_p: float = 0.0

    def half_width(self, level: float) -> float:
        """Distance from the number to either end of its interval that misses the truth with probability ``level``."""
        if level <= self.smallest_p:
            return math.inf
        by_item = _quantile(self.item_df, level)
        both = _quantile(self.seed_df, level) ** 2 * self.seeds + by_item**2 * self.items
        return math.sqrt(max(both, by_item**2 * self.items_alone))

    def p_value(self, distance: float) -> float:
        """Two-sided p-value of a value ``distance`` away: the level whose interval just reaches it."""
        low, high = math.log(SMALLEST_P), 0.0
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            low, high = (middle, high) if self.half_width(math.exp(middle)) >= distance else (low, middle)
        return math.exp(high)

    def times(self, factor: float) -> Spread:
        """That of ``factor`` times the number."""
        scaled = {name: factor**2 * getattr(self, name) for name in ("items", "seeds", "items_alone")}
        return replace(self, **scaled)


def _quantile(df: float, level: float) -> float:
    """Student's t beyond which a share ``level`` lies on both sides together."""
    from scipy.special import stdtrit  # a plan reads pairs' statistics, and needs no quantile

    return -float(stdtrit(min(max(df, 1.0), 1e9), level / 2))


@lru_cache(maxsize=32)
def resample_counts(items: int, resamples: int, seed: int) -> Floats:
    """As :func:`draw_counts`, read-only; kept, because every method of a column asks for the same."""
    counts = draw_counts(items, resamples, seed)
    counts.setflags(write=False)
    return counts


def draw_counts(items: int, resamples: int, seed: int) -> Floats:
    """How often each of ``resamples`` bootstrap samples draws each item. Shape (B, n); each row sums to n.

    The same arguments give the same counts, which is what makes comparisons paired.
    """
    drawn = np.random.default_rng(seed).integers(0, items, size=(resamples, items))
    flat = (drawn + np.arange(resamples)[:, None] * items).ravel()
    return np.bincount(flat, minlength=resamples * items).reshape(resamples, items).astype(np.float64)


def grouped_draws(
    statistic: Callable[[Floats], Floats], groups: Sequence[object], *, resamples: int = 1000, seed: int = 0
) -> Floats:
    """A statistic on bootstrap samples of whole groups, such as all answers of a prompt. Shape (B,).

    Args:
        statistic: Counts of the n observations, shape (b, n), to values, shape (b,). It is called on blocks of B.
        groups: Group of each observation; those of equal group are drawn together.
        resamples, seed: B at most, and what draws them: the same arguments draw the same groups, so that the draws of
            two statistics pair.
    """
    order = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    index = np.array([order[group] for group in groups], dtype=np.intp)
    drawn = min(resamples, max(FEWEST_RESAMPLES, DRAWN_NUMBERS // len(index)))
    block = max(1, HELD_NUMBERS // len(index))
    starts = range(0, drawn, block)
    counts = (draw_counts(len(order), min(block, drawn - start), seed + start)[:, index] for start in starts)
    return np.concatenate([statistic(each) for each in counts])


def item_counts(items: int, resamples: int, seed: int, groups: tuple[str, ...] | None = None) -> Floats:
    """How often each bootstrap sample draws each test item. Shape (B, n).

    Args:
        items: n.
        resamples, seed: B, and what draws them.
        groups: Group of each item, such as the question that it answers; items of a group are drawn together.
    """
    if groups is None:
        return resample_counts(items, resamples, seed)
    numbers = {name: number for number, name in enumerate(dict.fromkeys(groups))}
    index = np.array([numbers[name] for name in groups], dtype=np.intp)
    return resample_counts(len(numbers), resamples, seed)[:, index]


@lru_cache(maxsize=1024)
def item_seed(column: str, ids: tuple[str, ...], gold: tuple[Label, ...]) -> int:
    """Seed of the resamples of a column's test items, sorted by id.

    Equal for equal items in equal columns, so that the same items are drawn together wherever they occur: in the
    interval that an evaluation stores, in the one that a table prints, and on both sides of a difference.
    """
    return zlib.crc32(repr((column, ids, gold)).encode())


def bootstrap_interval(
    metric: str,
    gold: Sequence[Label],
    answers: Sequence[Label | None],
    space: AnswerSpace,
    *,
    resamples: int = 1000,
    seed: int = 0,
    groups: tuple[str, ...] | None = None,
) -> Interval:
    """A metric with its interval over test items, by the variance of its bootstrap; within what the metric can be.

    ``groups`` are drawn together, see :func:`item_counts`.
    """
    coded = encode(metric, gold, answers, space, groups)
    draws = METRICS[metric](coded, item_counts(len(gold), resamples, seed, groups))
    spread = item_spread(float(draws.var(ddof=1)), len(gold) if groups is None else len(set(groups)))
    return interval_of(measure(metric, coded), spread, 0.0 if metric in SHARES else -1.0)


def calibration_interval(
    name: str,
    confidence: Floats,
    right: Floats,
    *,
    resamples: int = 1000,
    seed: int = 0,
    groups: tuple[str, ...] | None = None,
) -> Interval:
    """One of :data:`rewardlab.calibration.CALIBRATIONS` with its interval over answers, as of a metric."""
    measured = CALIBRATIONS[name]
    value = float(measured(confidence, right, np.ones((1, len(right)))).item())
    draws = measured(confidence, right, item_counts(len(right), resamples, seed, groups))
    spread = item_spread(float(draws.var(ddof=1)), len(right) if groups is None else len(set(groups)))
    return interval_of(value, spread, -1.0 if name == "overconfidence" else 0.0)


def mean_interval(
    values: Sequence[float] | Floats,
    groups: Sequence[object] | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """A mean of numbers in [0, 1] with its interval, by the variance of its bootstrap.

    Args:
        values: One number an observation.
        groups: Observations with equal group (such as pairs of one prompt) are drawn together; None: each alone.
    """
    value, spread = mean_spread(values, groups, resamples=resamples, seed=seed)
    return interval_of(value, spread)


def mean_spread(
    values: Sequence[float] | Floats,
    groups: Sequence[object] | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, Spread]:
    """As :func:`mean_interval`: the mean, and its spread over observations or their groups."""
    if len(values) == 0:
        raise DataError("mean: there are no values to average; expected at least one")
    numbers = np.asarray(values, dtype=np.float64)
    sums, sizes = _by_group(numbers, groups)
    counts = resample_counts(len(sums), resamples, seed)
    return float(numbers.mean()), item_spread(float(((counts @ sums) / (counts @ sizes)).var(ddof=1)), len(sums))


def item_spread(variance: float, items: int) -> Spread:
    """The spread over ``items`` test items of a number whose bootstrap has this variance.

    The bootstrap's variance is 1 - 1/n of what it estimates. One item more of each kind is added: items that are all
    right, or all equal, would have none, and few wrong ones too little.

    Source:
        Agresti & Min 2005, who add half an item to each cell of a paired table; Agresti & Coull 1998 for shares.
    """
    found = variance * items / max(items - 1, 1) + 1 / items**2
    return Spread(found, items - 1, items_alone=found)


def interval_of(value: float, spread: Spread, lowest: float = 0.0, highest: float = 1.0) -> Interval:
    """The 95 % interval around ``value``, within what it can be."""
    half = spread.half_width(SIGNIFICANT)
    return Interval(value, max(lowest, value - half), min(highest, value + half))


def percentile_interval(value: float, draws: Floats) -> Interval:
    """The middle 95 % of ``draws`` around ``value``. ``draws`` has shape (B,)."""
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(draws, [tail, 100 - tail])
    return Interval(value, float(low), float(high))


def _by_group(numbers: Floats, groups: Sequence[object] | None) -> tuple[Floats, Floats]:
    """Sum and size of each group, in order of appearance."""
    if groups is None:
        return numbers, np.ones_like(numbers)
    order = {group: position for position, group in enumerate(dict.fromkeys(groups))}
    index = np.array([order[group] for group in groups])
    sums = np.bincount(index, weights=numbers).astype(np.float64)
    return sums, np.bincount(index).astype(np.float64)
