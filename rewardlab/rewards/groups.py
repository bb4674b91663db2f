"""Group operators: what one response's number is among those of the other responses to the same prompt.

A group is what a method such as GRPO samples for one prompt. Each operator takes the numbers of a group, n of them, and
gives as many; the order does not matter to any. Numbers count as equal when they are exactly equal, so that rounding
in a mean never makes a difference out of none.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Hashable, Mapping, Sequence
from statistics import fmean, stdev

Numbers = Sequence[float]


def gmean(x: Numbers) -> list[float]:
    """The mean, n times."""
    return [_mean(x)] * len(x)


def gstd(x: Numbers) -> list[float]:
    """The sample standard deviation (n - 1 in the denominator), n times; 0 for a single number.

    Source:
        The deviation of TRL's GRPO and GDPO, which add 1e-4 to it; here nothing is added.
    """
    return [_deviation(x)] * len(x)


def gz(x: Numbers) -> list[float]:
    """Deviations from the mean in units of :func:`gstd`; 0 where all are equal.

    Source:
        The advantage of GRPO (Shao et al. 2024, DeepSeekMath, 4.1). A sum of it over rewards is GDPO's before the
        scaling over the batch (Liu et al. 2026, arXiv 2601.05242).
    Example:
        >>> gz([1.0, 3.0, 2.0])
        [-1.0, 1.0, 0.0]
    """
    mean, deviation = _mean(x), _deviation(x)
    return [(each - mean) / deviation if deviation else 0.0 for each in x]


def grank(x: Numbers) -> list[float]:
    """Rank from 0 (lowest) to 1 (highest); equal numbers share the mean of their ranks, 0.5 where all are equal.

    Example:
        >>> grank([5.0, 7.0, 5.0])
        [0.25, 1.0, 0.25]
    """
    order, last = sorted(x), len(x) - 1
    ranks = [(bisect_left(order, each) + bisect_right(order, each) - 1) / 2 for each in x]
    return [rank / last if last else 0.5 for rank in ranks]


def gmin(x: Numbers) -> list[float]:
    """The smallest, n times."""
    return [min(x)] * len(x)


def gmax(x: Numbers) -> list[float]:
    """The largest, n times."""
    return [max(x)] * len(x)


def gscale(x: Numbers, by: Numbers) -> list[float]:
    """Place between the extremes of the numbers with an equal ``by``: -1 smallest, 1 largest, 0 where they are equal.

    Source:
        HERO's stratified normalisation (arXiv 2510.07242): with the verifier's verdict r it gives
        ``gate(r > 0, 1 + b * gscale(x, r), a * gscale(x, r))``. HERO puts a stratum without spread at its lower end;
        here it is at the middle, so that one right answer gets what right answers get on average.
    Example:
        >>> gscale([1.0, 2.0, 5.0, 7.0], by=[0.0, 0.0, 0.0, 1.0])
        [-1.0, -0.5, 1.0, 0.0]
    """
    scaled: dict[int, float] = {}
    for places in places_of_each(by):
        low, high = min(x[place] for place in places), max(x[place] for place in places)
        for place in places:
            scaled[place] = 2 * (x[place] - low) / (high - low) - 1 if low < high else 0.0
    return [scaled[place] for place in range(len(x))]


OPERATORS: Mapping[str, Callable[..., list[float]]] = {
    each.__name__: each for each in (gmean, gstd, gz, grank, gmin, gmax, gscale)
}
"""Group operator -> the numbers of one group to as many; raises OverflowError where a number cannot hold the result."""


def places_of_each(keys: Sequence[Hashable]) -> list[list[int]]:
    """The places of each key, in order of appearance."""
    found: dict[Hashable, list[int]] = {}
    for place, key in enumerate(keys):
        found.setdefault(key, []).append(place)
    return list(found.values())


def _mean(x: Numbers) -> float:
    low, high = min(x), max(x)
    return low if low == high else fmean(x)  # the rounded mean of three 0.1 is not 0.1


def _deviation(x: Numbers) -> float:
    return 0.0 if len(x) < 2 else stdev(x)  # computed in fractions: of equal numbers it is exactly 0
