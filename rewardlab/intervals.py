"""Bootstrap intervals of a metric and of a mean, and the resamples they are made of.

Two methods are compared on the same resamples by handing both the same counts (``reports/statistics.py``); what counts
and metrics are stands in ``metrics.py``. Letters: n test items, B resamples.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from rewardlab.errors import DataError
from rewardlab.metrics import METRICS, AnswerSpace, Floats, encode, measure
from rewardlab.types import Label

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """A value and its two-sided 95 % interval."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """The three numbers by name."""
        return {"value": self.value, "low": self.low, "high": self.high}


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
) -> Interval:
    """A metric with its percentile bootstrap interval over test items.

    One item, or items that are all right, give an interval of width 0: the bootstrap knows only what it was shown.
    """
    coded = encode(metric, gold, answers, space)
    draws = METRICS[metric](coded, resample_counts(len(gold), resamples, seed))
    return percentile_interval(measure(metric, coded), draws)


def mean_interval(
    values: Sequence[float] | Floats,
    groups: Sequence[object] | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """A mean with its percentile bootstrap interval.

    Args:
        values: One number an observation.
        groups: Observations with equal group (such as pairs of one prompt) are drawn together; None: each alone.
    """
    if len(values) == 0:
        raise DataError("mean: there are no values to average; expected at least one")
    numbers = np.asarray(values, dtype=np.float64)
    sums, sizes = _by_group(numbers, groups)
    counts = resample_counts(len(sums), resamples, seed)
    return percentile_interval(float(numbers.mean()), (counts @ sums) / (counts @ sizes))


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
