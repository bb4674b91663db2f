"""How often do intervals cover the truth, and how often does a table of level methods call one of them better?

Eight methods of equal accuracy answer the same test items in each of S seeds. An item is hard or easy for all methods;
a seed of a method is better or worse by a normal number of accuracy points; single answers have noise of their own. In
``shared`` tables most of a method's noise on an item is the same in all its seeds, as under greedy decoding; in ``own``
tables every seed has its own, as under sampling. What is tested is the code of the reports, from their bootstrap to
Holm's correction.

    python experiments/simulations/tables.py                     # all rows, about 10 minutes of one core
    python experiments/simulations/tables.py --seeds 5 --items 100 --tables 200

Columns: coverage of 95 % intervals of rows and of differences to the first method, mean half-width of rows in points;
tables with at least one method called significantly better or worse than the first (7 comparisons, Holm), or
significantly worse than the best of the table (all 28 pairs, Holm). Nominal: 95, 95, and at most 5.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.special import ndtr, ndtri

from rewardlab.comparison.paired import holm
from rewardlab.comparison.statistics import Estimate, SeedDraws, estimate
from rewardlab.intervals import resample_counts
from rewardlab.metrics import Floats

METHODS = 8
LEVEL = 0.8
"""Accuracy of every method over all seeds and items, without seed deviation."""
NOISE = {"own": (0.0, 0.7), "shared": (0.5, 0.15)}
"""Standard deviation of a method's noise on an item in all its seeds, and in each seed; that of difficulty is 1."""
RESAMPLES = 200
SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True)
class World:
    """Where tables are drawn from: seeds, items, standard deviation of a seed in accuracy points, kind of noise."""

    seeds: int
    items: int
    points: float
    noise: str

    @property
    def spread(self) -> float:
        """Standard deviation of what decides an answer, without seeds."""
        return float(np.sqrt(1 + sum(each**2 for each in NOISE[self.noise])))

    @property
    def skill(self) -> float:
        """Standard deviation of a seed on the scale of difficulty; the normal density turns points into it."""
        density = np.exp(-(ndtri(LEVEL) ** 2) / 2) / np.sqrt(2 * np.pi) / self.spread
        return self.points / 100 / float(density)

    @property
    def truth(self) -> float:
        """Mean accuracy over seeds and items."""
        return float(ndtr(ndtri(LEVEL) * self.spread / np.hypot(self.spread, self.skill)))

    def table(self, rng: np.random.Generator) -> Floats:
        """Right answers of all methods: 1 or 0. Shape (methods, seeds, items)."""
        shared, own = NOISE[self.noise]
        margin = ndtri(LEVEL) * self.spread + rng.normal(0, 1, self.items)
        margin = margin + rng.normal(0, shared, (METHODS, 1, self.items))
        margin = margin + rng.normal(0, self.skill, (METHODS, self.seeds, 1))
        return (margin + rng.normal(0, own, (METHODS, self.seeds, self.items)) > 0).astype(np.float64)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one table came to: rows and differences that were covered, half-widths, and whether one was called."""

    rows: list[bool]
    differences: list[bool]
    halves: list[float]
    against_first: bool
    against_best: bool


def outcome(world: World, rng: np.random.Generator) -> Outcome:
    """Draw a table and judge it as the reports do."""
    counts = resample_counts(world.items, RESAMPLES, int(rng.integers(2**31)))
    draws = [_draws(right, counts) for right in world.table(rng)]
    rows = [estimate(each, 0.0, 1.0) for each in draws]
    gains = [estimate(each.minus(draws[0]), -1.0, 1.0) for each in draws[1:]]
    best = max(range(METHODS), key=lambda place: rows[place].value)
    behind = [estimate(draws[best].minus(each), -1.0, 1.0) for place, each in enumerate(draws) if place != best]
    return Outcome(
        [row.low <= world.truth <= row.high for row in rows],
        [not gain.excludes_zero for gain in gains],
        [(row.high - row.low) / 2 for row in rows],
        _is_called(gains, len(gains)),
        _is_called(behind, METHODS * (METHODS - 1) // 2),
    )


def _draws(right: Floats, counts: Floats) -> SeedDraws:
    items = right.shape[1]
    return SeedDraws(right.mean(axis=1), right @ counts.T / items, items - 1, items**-2)


def _is_called(found: Sequence[Estimate], family: int) -> bool:
    return any(each.p < SIGNIFICANT for each in holm([each.p_value() for each in found], family))


def line(world: World, tables: int) -> str:
    """A row of the printed table."""
    rng = np.random.default_rng([world.seeds, world.items, int(10 * world.points), len(world.noise)])
    found = [outcome(world, rng) for _ in range(tables)]
    names = ("rows", "differences", "halves", "against_first", "against_best")
    shares = [100 * float(np.mean([getattr(each, name) for each in found])) for name in names]
    numbers = " | ".join(f"{share:.1f}" for share in shares)
    return f"| {world.seeds} | {world.items} | {world.points:g} | {world.noise} | {numbers} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[2, 3, 5, 10])
    parser.add_argument("--items", type=int, nargs="+", default=[100, 500])
    parser.add_argument("--points", type=float, nargs="+", default=[0, 2, 4, 8])
    parser.add_argument("--tables", type=int, default=1000)
    given = parser.parse_args()
    print("| seeds | items | points | noise | rows | differences | half-width | against first | against best |")
    print("| ---: " * 3 + "| :--- " + "| ---: " * 5 + "|")
    for seeds, items, points, noise in product(given.seeds, given.items, given.points, NOISE):
        print(line(World(seeds, items, points, noise), given.tables), flush=True)


if __name__ == "__main__":
    main()
