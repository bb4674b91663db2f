"""``[grid]``: settings that are chosen on validation rows, with the same number of tries for every method.

A try is training under one combination of the values, on each of ``grid_seeds`` (default: the suite's first seed), and
greedy answers to the validation rows. The best mean over tasks and seeds wins, the earlier one where two are equal;
all seeds then use its values. Test rows are not answered. Without ``grid_seeds`` the winner's run is the first seed's
run of the method, so nothing of it is trained twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

from rewardlab.pipeline.stage import Stage

Values = Mapping[str, Any]
"""Dotted configuration key -> value."""


@dataclass(frozen=True, slots=True)
class Try:
    """One combination of the grid's values.

    Attributes:
        values: The combination.
        stages: What measures it on validation rows: a stage a seed, or one a seed and task in single-task training.
    """

    values: Values
    stages: tuple[Stage, ...]

    def score(self, root: Path) -> float | None:
        """Mean over tasks and seeds of the main metric on validation rows; None while it is not measured."""
        found = self.scores(root)
        return None if found is None else fmean(score for seed in found.values() for score in seed.values())

    def scores(self, root: Path) -> dict[int, dict[str, float]] | None:
        """Seed -> task -> main metric; None while one of them is not measured."""
        found: dict[int, dict[str, float]] = {}
        for stage in self.stages:
            folder = stage.folder(root)
            if not folder.is_done:
                return None
            found.setdefault(int(stage.config["seed"]), {}).update(folder.result()["scores"])
        return found


def combinations(grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Every combination of the grid's values, the last key changing fastest.

    >>> combinations({"ppo.lr": [1, 2], "ppo.batch": [4]})
    [{'ppo.lr': 1, 'ppo.batch': 4}, {'ppo.lr': 2, 'ppo.batch': 4}]
    """
    return [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]


def choose(tries: Sequence[Try], root: Path) -> Values | None:
    """The values of the best try, the first of equal ones; None while one is not measured."""
    scores = [score for each in tries if (score := each.score(root)) is not None]
    if len(scores) < len(tries):
        return None
    return tries[scores.index(max(scores))].values
