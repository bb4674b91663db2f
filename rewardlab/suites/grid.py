"""``[grid]``: settings of the PPO methods that are chosen on validation rows, with the same number of tries each.

A try is PPO under one combination of the values, on the suite's first seed, and greedy answers to the validation
rows. The best mean over the tasks wins, the earlier one where two are equal; all seeds then use its values. Test rows
are not read. The winner's run is the first seed's run of the method, so nothing of it is trained twice.
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
        stages: What measures it on validation rows: one stage, or one a task in single-task training.
    """

    values: Values
    stages: tuple[Stage, ...]

    def score(self, root: Path) -> float | None:
        """Mean over the tasks of their main metric on validation rows; None while it is not measured."""
        folders = [stage.folder(root) for stage in self.stages]
        if not all(folder.is_done for folder in folders):
            return None
        return fmean(score for folder in folders for score in folder.result()["scores"].values())


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
