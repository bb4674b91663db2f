"""What each lambda would prefer among stored samples: best of n under ``min(r1, lambda) + r2``, without training.

Every prompt's samples are scored once by both reward models; each lambda then picks the sample with the highest total,
ties shared equally. How often r1 is capped, how accurate the picks are and how good their rationales are says what a
policy is pulled to; how far it gets there is another matter.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rewardlab.intervals import Interval, mean_interval
from rewardlab.models.scoring import load_scorers
from rewardlab.rewards import RewardContext
from rewardlab.rewards.calibration import CAPPED, parse_lambda, resolve_lambda
from rewardlab.tasks.task import parse_response, tasks
from rewardlab.training.stored_samples import read_samples
from rewardlab.types import Example

Floats = NDArray[np.float64]

UNCAPPED, R1, R2, ANY = "no cap: r1 + r2", "r1 alone", "r2 alone", "any sample"


@dataclass(frozen=True, slots=True)
class Scored:
    """Samples of several prompts with everything that is known of them. R responses.

    Attributes:
        groups: Number of each response's prompt. Shape (R,).
        r1, r2: Raw scores, logits. Shape (R,).
        accuracy: 1 right, 0 wrong or malformed; of a number one minus its distance to gold over the scale; NaN
            without a gold label. Shape (R,).
        quality: Rationale quality from 0 to 1 where the task measures it, else NaN. Shape (R,).
    """

    groups: NDArray[np.int64]
    r1: Floats
    r2: Floats
    accuracy: Floats
    quality: Floats


@dataclass(frozen=True, slots=True)
class Row:
    """What one total prefers.

    Attributes:
        name: Lambda as it was asked for, or one of the four rows it is compared with.
        lam: Lambda on the raw scale; None in those rows.
        saturation: Share of all samples with r1 at or above lambda; None in those rows.
        accuracy, quality: Of the picks, with intervals over prompts; None where nothing measures them.
        r2: Mean r2 of the picks.
    """

    name: str
    lam: float | None
    saturation: float | None
    accuracy: Interval | None
    quality: Interval | None
    r2: float


def score_samples(first: Path, second: Path) -> tuple[Scored, RewardContext]:
    """Score the samples stored with the label RM ``first`` by it and by ``second``.

    Raises:
        ModelError: The two stand on different trunks.
        RunFolderError: No samples are stored.
    """
    samples = read_samples(first)
    loaded = load_scorers({CAPPED: first, "second": second})
    examples = [sample.example for sample in samples for _ in sample.responses]
    texts = [text for sample in samples for text in sample.responses]
    return Scored(
        groups=np.repeat(np.arange(len(samples)), [len(sample.responses) for sample in samples]),
        r1=np.array(loaded.scorers[CAPPED](examples, texts)),
        r2=np.array(loaded.scorers["second"](examples, texts)),
        accuracy=np.array([_accuracy(*each) for each in zip(examples, texts, strict=True)]),
        quality=np.array([_quality(*each) for each in zip(examples, texts, strict=True)]),
    ), RewardContext(sft_scores=loaded.sft_scores)


def sweep(scored: Scored, lambdas: Mapping[str, float]) -> list[Row]:
    """One row a lambda (name -> raw value), after the four rows it is compared with."""
    fixed = {ANY: np.zeros_like(scored.r1), R2: scored.r2, R1: scored.r1, UNCAPPED: scored.r1 + scored.r2}
    rows = [_row(scored, name, total) for name, total in fixed.items()]
    for name, lam in lambdas.items():
        capped = _row(scored, name, np.minimum(scored.r1, lam) + scored.r2)
        rows.append(
            Row(name, lam, float((scored.r1 >= lam).mean()), capped.accuracy, capped.quality, capped.r2),
        )
    return rows


def resolved(asked: Sequence[str], context: RewardContext) -> dict[str, float]:
    """Lambdas as asked for -> their raw values; raises ConfigError for one that cannot be read."""
    return {text.strip(): resolve_lambda(parse_lambda(text), context) for text in asked}


def _row(scored: Scored, name: str, total: Floats) -> Row:
    weights = picked(total, scored.groups)
    return Row(
        name,
        None,
        None,
        _mean(scored.accuracy, weights, scored.groups),
        _mean(scored.quality, weights, scored.groups),
        float((weights * scored.r2).sum() / weights.sum()),
    )


def picked(total: Floats, groups: NDArray[np.int64]) -> Floats:
    """Weight of each response among the best of its prompt: 1 for the best, shared equally by ties. Shape (R,)."""
    best = np.full(groups.max() + 1, -np.inf)
    np.maximum.at(best, groups, total)
    is_best = (total == best[groups]).astype(np.float64)
    return np.asarray(is_best / np.bincount(groups, weights=is_best)[groups], dtype=np.float64)


def _mean(values: Floats, weights: Floats, groups: NDArray[np.int64]) -> Interval | None:
    """Mean over prompts of the picks' values; prompts without a value are left out."""
    sums = np.bincount(groups, weights=weights * values).astype(np.float64)
    known = sums[~np.isnan(sums)]
    return mean_interval(known) if len(known) else None


def _accuracy(example: Example, text: str) -> float:
    answer, gold, task = parse_response(example, text).value, example.label, tasks.get(example.task)
    if gold is None:
        return math.nan
    if answer is None or not (task.is_numeric and task.numeric_range):
        return float(task.is_right(answer, gold))
    low, high = task.numeric_range
    return 1 - abs(float(answer) - float(gold)) / (high - low)


def _quality(example: Example, text: str) -> float:
    measure = tasks.get(example.task).quality
    return math.nan if measure is None else measure(example, text)
