"""Tests of one method against another on the same items: p-values, their correction over a table, effect sizes.

Plain numbers in, plain numbers out; what is compared with what stands in ``comparison.py``. All tests are two-sided
and none of them needs random draws of its own, so that equal runs give equal p-values however many are corrected
together. n test items, S seeds, B resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, ndtr

from rewardlab.metrics import Floats

TestName = Literal["sign-flip", "bootstrap"]
EffectName = Literal["h", "q"]
SIGNIFICANT = 0.05
SHARES = frozenset({"accuracy", "f1", "macro_f1"})
"""Metrics in [0, 1], whose effect size is Cohen's h; the other metrics are correlations, with Cohen's q."""
_STEPS: dict[EffectName, tuple[float, float, float]] = {"h": (0.2, 0.5, 0.8), "q": (0.1, 0.3, 0.5)}
_SIZES = ("negligible", "small", "medium", "large")


@dataclass(frozen=True, slots=True)
class SeedTest:
    """McNemar's test of one seed.

    Attributes:
        seed: The seed both methods were trained with.
        only_a, only_b: Items that only the one, or only the other, answered right.
        p: Exact two-sided p-value.
    """

    seed: int
    only_a: int
    only_b: int
    p: float


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
    """What the tests say of one difference.

    Attributes:
        name: ``sign-flip`` on items (accuracy), or ``bootstrap`` (every other metric, and averages over columns).
        p: Over new test items, these seeds as given.
        p_holm: ``p`` corrected over ``family`` comparisons.
        family: How many comparisons were corrected together.
        by_seed: McNemar's test of every seed, for accuracy; empty otherwise.
        effect: None where shares and correlations are averaged.
    """

    name: TestName
    p: float
    p_holm: float
    family: int = 1
    by_seed: tuple[SeedTest, ...] = ()
    effect: Effect | None = None

    @property
    def is_significant(self) -> bool:
        """True when the corrected p-value is below 0.05."""
        return self.p_holm < SIGNIFICANT


def mcnemar(seed: int, only_a: int, only_b: int) -> SeedTest:
    """Exact at every size: the binomial tail is as cheap as its approximation by chi-squared.

    Example:
        >>> mcnemar(0, 8, 2).p  # 2 * (1 + 10 + 45) / 1024
        0.109375
    """
    both = only_a + only_b
    return SeedTest(seed, only_a, only_b, min(1.0, 2 * float(bdtr(min(only_a, only_b), both, 0.5))))


def sign_flip(totals: Sequence[int] | NDArray[np.int64]) -> float:
    """Exact p-value of a sum, were the sign of each item's difference a coin's.

    Args:
        totals: For each item, the number of seeds in which a alone is right less those in which b alone is.
            Shape (n,). Each item counts once, however many seeds answered it.
    Returns:
        Share of the 2^n sign patterns whose sum is at least as far from 0, to 14 decimals. With one seed: McNemar's
        p-value.
    Source:
        Fisher 1935. The null distribution has the characteristic function prod_i cos(t_i theta), which one Fourier
        transform turns into probabilities; their rounding error is about 1e-15.
    Example:
        >>> sign_flip([1, 1, 1, 2, 0])  # 2 patterns of 16
        0.125
    """
    sizes = np.bincount(np.abs(np.asarray(totals, dtype=np.int64)))
    reach = int(np.arange(len(sizes)) @ sizes)
    angles = 2 * np.pi * np.arange(reach + 1) / (2 * reach + 1)
    wave = np.ones_like(angles)
    for size in np.flatnonzero(sizes[1:]) + 1:
        wave *= np.cos(size * angles) ** sizes[size]
    chances = np.fft.irfft(wave, 2 * reach + 1)
    observed = abs(int(np.sum(totals)))
    return min(1.0, max(0.0, round(2 * float(chances[observed : reach + 1].sum()), 14)))


def paired_bootstrap(value: float, draws: Floats, items: int) -> float:
    """p-value of a difference whose spread over resampled items is known.

    Counting the draws beyond zero cannot say less than 1 / B, and Holm multiplies that by the size of the table;
    so the difference is measured in bootstrap standard errors, against the normal distribution.

    Args:
        value: The difference on all items.
        draws: The same on resamples, both methods on the same items. Shape (B,).
        items: n. The result is at least 2^(1 - n), what a test of signs could say of as many items: a handful that
            all agree has a standard error of 0.
    """
    if value == 0.0:
        return 1.0
    error = float(draws.std(ddof=1))
    beyond = 2 * float(ndtr(-abs(value) / error)) if error > 0 else 0.0
    return max(beyond, 2.0 ** (1 - items))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number, in their order; the chance of one false claim among all stays below 5 %.

    Source:
        Holm 1979.
    Example:
        >>> holm([0.01, 0.04, 0.03])  # 0.01 * 3; 0.03 * 2; 0.04 * 1, but not below the one before
        [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, p_values[place] * (len(p_values) - rank)))
        corrected[place] = largest
    return corrected


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
