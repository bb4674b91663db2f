"""Tables of methods that are truly level: how often one is called better, and how often intervals cover the truth.

Small, seeded runs of ``experiments/simulations/tables.py``, whose whole table stands in ``experiments/LOG.md``. Bounds
leave two standard errors of the simulation above 6 % of tables and below 93 % of intervals.
"""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SIMULATION = Path(__file__).parents[3] / "experiments" / "simulations" / "tables.py"
TABLES = 100


@pytest.fixture(scope="module")
def simulation() -> dict[str, Any]:
    return runpy.run_path(str(SIMULATION))


@pytest.mark.parametrize(
    ("seeds", "items", "points", "noise"),
    [
        (5, 100, 0.0, "own"),
        (5, 100, 4.0, "shared"),
        (5, 500, 4.0, "own"),
        (3, 100, 8.0, "own"),
        (2, 100, 8.0, "shared"),
    ],
)
def test_level_methods_are_called_level(
    simulation: dict[str, Any], seeds: int, items: int, points: float, noise: str
) -> None:
    world, rng = simulation["World"](seeds, items, points, noise), np.random.default_rng(7)
    found = [simulation["outcome"](world, rng) for _ in range(TABLES)]
    # 100 tables at 6 %: 6, and twice sqrt(100 * 0.06 * 0.94) = 4.7
    assert sum(each.against_first for each in found) <= 10
    assert sum(each.against_best for each in found) <= 10
    # rows of one table share their items: two standard errors of 100 tables at 93 % are 5.1 points
    assert np.mean([each.rows for each in found]) >= 0.93 - 0.05
    assert np.mean([each.differences for each in found]) >= 0.93


def test_row_intervals_are_no_wider_than_items_ask_where_seeds_do_not_differ(simulation: dict[str, Any]) -> None:
    """Accuracy 0.8 on 100 items that all seeds find equally hard: 1.984 * sqrt(0.16 / 100) is 7.9 points.

    Student's t on 4 degrees of freedom, put on the items too, would make 11.
    """
    world, rng = simulation["World"](5, 100, 0.0, "shared"), np.random.default_rng(7)
    halves = [half for _ in range(30) for half in simulation["outcome"](world, rng).halves]
    assert 0.070 < np.mean(halves) < 0.085


def test_the_worlds_are_what_they_say(simulation: dict[str, Any]) -> None:
    """Accuracy and its deviation over seeds, of many seeds and items."""
    world = simulation["World"](400, 400, 4.0, "own")
    right = world.table(np.random.default_rng(7)).mean(axis=2)
    assert right.mean() == pytest.approx(world.truth, abs=0.04)
    # 4 points, and sampling noise within the same items of at most sqrt(0.16 / 400) = 2 points
    assert 0.035 < np.median(right.std(axis=1)) < 0.047
