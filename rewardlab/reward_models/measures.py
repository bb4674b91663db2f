"""What the scores of a reward model on pairs are worth, as numbers: pure functions of scores. P pairs, R responses.

The model's probability that the chosen response wins is sigma(margin), the margin being the difference of the two
scores (Bradley & Terry 1952). Its confidence is that probability or one minus it, whichever is larger, and it is
right when the margin is positive; a margin of 0 is half right.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewardlab.calibration import overconfidence, risk_coverage_area
from rewardlab.intervals import mean_interval
from rewardlab.pairs.duplicates import prompt_keys
from rewardlab.types import Label, Pair

Floats = NDArray[np.float64]

JUDGED_FILE = "judged.jsonl"
"""In the folder of a report card: the margin of every pair that was judged."""
CONFIDENCE_BINS = 10
MARGIN_BINS = 24
QUANTILES = (5, 25, 50, 75, 95)
BEST_FILE = "best_of_4.jsonl"
"""In the folder of a report card: what became of each row that has one right and three wrong answers."""
WRONG_ANSWERS = 3
"""Beside one right answer, in best-of-4 accuracy; chance is 1 in 4."""


def wins(margins: Floats) -> Floats:
    """1, 0.5 or 0 per pair: the chosen response scores higher, as high, lower. Shape (P,)."""
    return np.asarray((np.sign(margins) + 1) / 2, dtype=np.float64)


def accuracy(margins: Floats, groups: Sequence[object]) -> dict[str, float]:
    """Share of pairs ranked right with its interval; pairs of one group (prompt) are resampled together."""
    return {**mean_interval(wins(margins), groups).to_json(), "n": len(margins)}


def best_of_four(right: Floats, wrong: Floats) -> float:
    """How often a right answer scores highest among one right and three wrong answers to one prompt.

    The mean over all ways to draw these four without replacement. A right answer that shares the highest score with m
    wrong ones counts 1 / (m + 1).

    Args:
        right: Scores of the right answers, logits; one at least.
        wrong: Scores of the wrong answers, logits; three at least.
    Returns:
        A share; a scorer that cannot tell them apart gets 0.25.
    Source:
        RewardBench 2 (Malik et al. 2025), whose rows have exactly four answers.
    Example:
        >>> best_of_four(np.array([2.0]), np.array([1.0, 0.0, 2.0]))
        0.5
    """
    ways = math.comb(len(wrong), WRONG_ANSWERS) * len(right)
    won = 0.0
    for score in right:
        lower, tied = int((wrong < score).sum()), int((wrong == score).sum())
        won += sum(
            math.comb(tied, drawn) * math.comb(lower, WRONG_ANSWERS - drawn) / (drawn + 1)
            for drawn in range(WRONG_ANSWERS + 1)
        )
    return won / ways


def calibration(margins: Floats) -> dict[str, Any]:
    """How far confidence and accuracy lie apart.

    Args:
        margins: Chosen minus rejected score, logits. Shape (P,).
    Returns:
        ``brier`` (mean squared distance of sigma(margin) from 1; 0.25 is guessing), ``ece`` (mean distance of
        confidence and accuracy over ten equal bins of confidence from 0.5 to 1, weighted by their pairs; Naeini et
        al. 2015), ``overconfidence`` (mean confidence less accuracy), ``aurc`` (area under the risk-coverage curve:
        share of pairs ranked wrong among the surest ones, mean over how many these are), ``bins`` (confidence, accuracy
        and n of each bin that holds pairs).
    """
    from scipy.special import expit

    won = expit(margins)
    confidence = np.maximum(won, 1 - won)
    number = np.minimum(((confidence - 0.5) * 2 * CONFIDENCE_BINS).astype(int), CONFIDENCE_BINS - 1)
    right = wins(margins)
    bins = [
        {"confidence": float(confidence[held].mean()), "accuracy": float(right[held].mean()), "n": int(held.sum())}
        for held in (number == place for place in range(CONFIDENCE_BINS))
        if held.any()
    ]
    ece = sum(abs(each["confidence"] - each["accuracy"]) * each["n"] for each in bins) / len(margins)
    counts = np.ones((1, len(margins)))
    return {
        "brier": float(((1 - won) ** 2).mean()),
        "ece": float(ece),
        "overconfidence": float(overconfidence(confidence, right, counts).item()),
        "aurc": float(risk_coverage_area(confidence, right, counts).item()),
        "bins": bins,
    }


def margin_histogram(margins: Floats) -> dict[str, Any]:
    """Mean, standard deviation, and counts between equally spaced edges, logits."""
    counts, edges = np.histogram(margins, bins=MARGIN_BINS)
    spread = {"mean": float(margins.mean()), "sd": float(margins.std())}
    return {**spread, "edges": edges.tolist(), "counts": counts.tolist()}


def accuracy_by_gold(margins: Floats, pairs: Sequence[Pair]) -> dict[str, dict[str, float]]:
    """:func:`accuracy` for each gold label; numbers are rounded, pairs without a label left out."""
    by_label: dict[str, list[int]] = {}
    for place, pair in enumerate(pairs):
        if pair.gold_label is not None:
            by_label.setdefault(_shown(pair.gold_label), []).append(place)
    return {
        label: accuracy(margins[places], prompt_keys([pairs[place] for place in places]))
        for label, places in sorted(by_label.items())
    }


def scores_by_gold(scores: Floats, answers: Sequence[Label | None], gold: Sequence[Label | None]) -> dict[str, Any]:
    """Spread of the scores per gold label, of right and of other answers; numbers are rounded, and right within 0.5.

    Args:
        scores: Shape (R,), logits.
        answers: What was read in each response.
        gold: The gold label of each; responses without one are left out.
    Returns:
        Gold label -> ``right`` and ``wrong`` -> n, mean, sd and quantiles; absent where there is no response.
    """
    places: dict[str, dict[str, list[int]]] = {}
    for place, (answer, label) in enumerate(zip(answers, gold, strict=True)):
        if label is not None:
            side = "right" if is_right(answer, label) else "wrong"
            places.setdefault(_shown(label), {}).setdefault(side, []).append(place)
    return {
        label: {side: spread(scores[found]) for side, found in sorted(sides.items())}
        for label, sides in sorted(places.items())
    }


def _shown(label: Label) -> str:
    return label if isinstance(label, str) else f"{math.floor(label + 0.5)}"


def is_right(answer: Label | None, gold: Label) -> bool:
    """Whether an answer is gold, or a number within 0.5 of it."""
    if isinstance(answer, float) and isinstance(gold, float):
        return abs(answer - gold) <= 0.5
    return answer == gold


def spread(scores: Floats) -> dict[str, float]:
    """n, mean, standard deviation and quantiles of some scores."""
    cuts = np.percentile(scores, QUANTILES)
    named = {f"q{percent}": float(cut) for percent, cut in zip(QUANTILES, cuts, strict=True)}
    return {"n": len(scores), "mean": float(scores.mean()), "sd": float(scores.std()), **named}


def correlation(scores: Floats, other: Floats) -> dict[str, float | None]:
    """Pearson's and Spearman's correlation; None for a constant, which orders nothing. Both of shape (R,)."""
    from scipy.stats import pearsonr, spearmanr

    if len(scores) < 2 or np.ptp(scores) == 0 or np.ptp(other) == 0:
        return {"pearson": None, "spearman": None}
    return {"pearson": float(pearsonr(scores, other)[0]), "spearman": float(spearmanr(scores, other)[0])}


def label_prior(training: Sequence[Pair]) -> Mapping[tuple[str, Label], float]:
    """(task, label) -> its share among the gold labels of a task's training pairs."""
    counts: dict[str, dict[Label, int]] = {}
    for pair in training:
        if pair.gold_label is not None:
            of_task = counts.setdefault(pair.task, {})
            of_task[pair.gold_label] = of_task.get(pair.gold_label, 0) + 1
    return {
        (task, label): count / sum(found.values()) for task, found in counts.items() for label, count in found.items()
    }
