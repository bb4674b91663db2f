"""Accuracy of scorers on preference pairs: how often the response that should win does.

A reward model's number means little alone: set the label-only and the length-only scorer beside it (an ordinary
reward that sees nothing but the label, or the length), measured by the same function on the same pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rewardlab.errors import DataError
from rewardlab.metrics import Interval, mean_interval
from rewardlab.tasks.task import Task
from rewardlab.types import Label


@dataclass(frozen=True, slots=True)
class SampledAnswer:
    """One policy sample: the prompt it answers (``group``), what was read in it, and the prompt's gold label."""

    group: str
    answer: Label | None
    gold: Label


@dataclass(frozen=True, slots=True)
class OrderedPair:
    """Positions of a better and a worse sample of one prompt, by gold."""

    group: str
    better: int
    worse: int


def pair_accuracy(
    chosen: Sequence[float],
    rejected: Sequence[float],
    groups: Sequence[object] | None = None,
    *,
    bootstrap: int = 1000,
    seed: int = 0,
) -> Interval:
    """Share of pairs whose chosen response scores higher; a tie counts one half.

    Args:
        chosen, rejected: Scores of the two responses of each pair. Shape (pairs,).
        groups: The prompt of each pair, when one prompt has several: its pairs are resampled together.
    Returns:
        The share with its 95 % interval. A scorer that cannot tell the two apart gets 0.5.
    Raises:
        DataError: No pairs, or the two differ in length.
    """
    if len(chosen) != len(rejected):
        raise DataError(f"pairs: {len(chosen)} chosen and {len(rejected)} rejected scores; expected as many of each")
    gap = np.asarray(chosen, dtype=np.float64) - np.asarray(rejected, dtype=np.float64)
    return mean_interval((np.sign(gap) + 1) / 2, groups, resamples=bootstrap, seed=seed)


def ordered_by_gold(task: Task, samples: Sequence[SampledAnswer]) -> list[OrderedPair]:
    """All pairs of samples to one prompt whose answers differ in distance to gold, nearer one first.

    Labels are right or wrong; on a scale (numbers, stars) the distance is |answer - gold|. Malformed samples have no
    label and are left out; two answers at the same distance make no pair.
    """
    by_group: dict[str, list[int]] = {}
    distances: dict[int, float] = {}
    for position, sample in enumerate(samples):
        if sample.answer is not None:
            by_group.setdefault(sample.group, []).append(position)
            distances[position] = _distance(task, sample.answer, sample.gold)
    return [
        OrderedPair(group, left, right)
        for group, positions in by_group.items()
        for left in positions
        for right in positions
        if distances[left] < distances[right]
    ]


def sampled_accuracy(
    task: Task, samples: Sequence[SampledAnswer], scores: Sequence[float], *, bootstrap: int = 1000, seed: int = 0
) -> Interval | None:
    """Pair accuracy on policy samples ordered by gold; None when no prompt got two answers that differ."""
    pairs = ordered_by_gold(task, samples)
    if not pairs:
        return None
    better, worse = [scores[pair.better] for pair in pairs], [scores[pair.worse] for pair in pairs]
    return pair_accuracy(better, worse, [pair.group for pair in pairs], bootstrap=bootstrap, seed=seed)


def _distance(task: Task, answer: Label, gold: Label) -> float:
    if task.is_ordinal:
        return round(abs(float(answer) - float(gold)), 9)
    return float(answer != gold)
