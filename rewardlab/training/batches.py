"""Which prompts a step reads: each in turn, or with every gold label equally often (``ppo.balance = "label"``).

Both are functions of (seed, step) alone, so that a resume needs no cursor. In balanced batches the share of each task
is what it is without them; within a task labels take turns, and every label goes through its own prompts in passes. A
rare label's prompts come round sooner.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Generic, TypeVar

from rewardlab.online_config import Balance
from rewardlab.training.schedule import batch_of
from rewardlab.types import Example, Label, Pair

Row = TypeVar("Row", bound=Example | Pair)


def draws_of(rows: Sequence[Row], batch: int, seed: int, balance: Balance = "none") -> Callable[[int], list[Row]]:
    """Step -> the rows that it reads.

    Args:
        rows: Prompts with gold labels where they are balanced.
        batch: Rows a step.
        seed: Of their order.
        balance: ``label``: every gold label of a task equally often.
    """
    if balance == "none":
        return partial(batch_of, rows, batch=batch, seed=seed)
    return partial(BalancedDraws(rows, seed).batch, batch=batch)


class BalancedDraws(Generic[Row]):
    """Rows in an order in which the gold labels of a task take turns.

    Args:
        rows: With gold labels.
        seed: Of the order.
    """

    def __init__(self, rows: Sequence[Row], seed: int) -> None:
        self._rows, self._seed = rows, seed
        self._orders: dict[tuple[object, ...], list[int]] = {}

    def batch(self, step: int, batch: int) -> list[Row]:
        """The rows of one step."""
        return [self._row(place) for place in range(step * batch, (step + 1) * batch)]

    @cached_property
    def _by_task(self) -> dict[str, dict[Label, list[Row]]]:
        """Task -> gold label -> its rows; labels sorted, so that the order of the file does not count."""
        found: dict[str, dict[Label, list[Row]]] = {}
        for row in sorted(self._rows, key=lambda row: str(_gold(row))):
            found.setdefault(row.task, {}).setdefault(_gold(row), []).append(row)
        return found

    @cached_property
    def _counts(self) -> dict[str, int]:
        return {task: sum(map(len, by_label.values())) for task, by_label in self._by_task.items()}

    def _row(self, place: int) -> Row:
        task, rank = self._turn_of_task(place)
        labels = list(self._by_task[task])
        turn, position = divmod(rank, len(labels))
        label = labels[self._order(len(labels), "label", task, turn)[position]]
        own = self._by_task[task][label]
        epoch, offset = divmod(turn, len(own))
        return own[self._order(len(own), "row", task, label, epoch)[offset]]

    def _turn_of_task(self, place: int) -> tuple[str, int]:
        """Whose turn it is at a place, and how many turns that task had before."""
        epoch, offset = divmod(place, len(self._rows))
        order = self._order(len(self._rows), "task", epoch)
        task = self._rows[order[offset]].task
        if len(self._counts) == 1:
            return task, place
        before = sum(self._rows[row].task == task for row in order[:offset])
        return task, epoch * self._counts[task] + before

    def _order(self, length: int, *what: object) -> list[int]:
        """A shuffled order of its own for each thing that is drawn."""
        if what not in self._orders:
            drawn = random.Random(f"balanced {self._seed} {' '.join(map(str, what))}")
            self._orders[what] = drawn.sample(range(length), length)
        return self._orders[what]


def _gold(row: Example | Pair) -> Label:
    label = row.label if isinstance(row, Example) else row.gold_label
    assert label is not None, "checked before anything is trained"
    return label
