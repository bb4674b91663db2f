"""Evaluation metrics over gold labels and read answers.

Every metric is written over resampling counts: ``counts[b, i]`` says how often resample b drew item i, and a row of
ones gives the plain value. One matrix product then measures a thousand resamples; ``intervals.py`` draws them.
Letters: n test items, B resamples, K labels.

A malformed answer (None) is a judged answer, not a missing one:

* accuracy: wrong;
* F1, macro-F1, balanced accuracy, Matthews: a class of its own beside the K labels, which is never right. In F1 it is
  a miss where gold is the positive label, and no false alarm where it is not;
* Pearson, Spearman: the middle of the task's scale, the guess of someone who has not looked;
* parity: an answer of its own, so that two malformed answers to a pair are equal.

Where answers are candidates of their row (ReCoRD), accuracy and exact match count an answer that equals any gold one as
right, and token F1 is the overlap with the gold answer that fits best (:mod:`rewardlab.gold_answers`).

A correlation with a constant (all answers equal, or all gold equal) is undefined; it counts as 0 here, because
constant answers order nothing, and a table must be able to average over the cell. Matthews and F1 are 0 likewise
where their denominators vanish. Values lie in [0, 1] or [-1, 1]; tables multiply by 100.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rewardlab import gold_answers
from rewardlab.errors import ConfigError, DataError, UnknownNameError
from rewardlab.types import Label

Floats = NDArray[np.float64]
SHARES = frozenset(
    {
        "accuracy",
        "balanced_accuracy",
        "exact_match",
        "f1",
        "macro_f1",
        "micro_f1",
        "parity",
        "sample_f1",
        "token_f1",
    }
)
"""Metrics in [0, 1]; the others are correlations, in [-1, 1]."""
POSITIVE_LABEL = "yes"
"""What F1 counts as positive (MRPC, QQP)."""


class AnswerSpace(Protocol):
    """What a metric must know of a task; ``Task`` is one."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The label set; empty for numeric tasks."""
        ...

    @property
    def numeric_range(self) -> tuple[float, float] | None:
        """(lowest, highest) of the scale, or None."""
        ...


@dataclass(frozen=True, slots=True)
class Coded:
    """Gold labels and answers as numbers.

    Attributes:
        gold: Label index, or the number itself, shape (n,); of sets of labels 1 where one is in it, shape (n, K).
        predicted: The same for answers; index K, or a set of none, stands for malformed.
        labels: The K labels; empty for correlations.
        groups: Number of the group of each item, from 0, shape (n,); None where each stands alone.

    Of candidates ``gold`` is 1 and ``predicted`` the share of it that an answer reaches: 0 or 1, or its token F1.
    """

    gold: Floats
    predicted: Floats
    labels: tuple[str, ...] = ()
    groups: Floats | None = None


Metric = Callable[[Coded, Floats], Floats]
"""(coded answers, counts of shape (B, n)) -> values of shape (B,)."""


def accuracy(coded: Coded, counts: Floats) -> Floats:
    """Share of answers equal to gold, of sets of labels the whole set; malformed ones are wrong."""
    right = _right(coded)
    return np.asarray(counts @ right / (counts @ np.ones_like(right)), dtype=np.float64)


def token_f1(coded: Coded, counts: Floats) -> Floats:
    """Mean overlap of the answers with their gold answers, of candidates; 0 for a malformed answer.

    Source:
        SuperGLUE's F1 of ReCoRD (Zhang et al. 2018), which is SQuAD's.
    """
    return np.asarray(counts @ coded.predicted / counts.sum(axis=1), dtype=np.float64)


def exact_match(coded: Coded, counts: Floats) -> Floats:
    """Share of groups whose answers are all right; where items stand alone, their accuracy.

    Source:
        SuperGLUE's EM of MultiRC, over questions (Khashabi et al. 2018), and of ReCoRD.
    """
    if coded.groups is None:
        return accuracy(coded, counts)
    return _share_of_groups(coded.groups, _right(coded), counts)


def parity(coded: Coded, counts: Floats) -> Floats:
    """Share of groups whose answers are all the same, right or wrong; raises ConfigError without groups.

    Source:
        The gender parity score of Winogender (Rudinger et al. 2018), SuperGLUE's AX-g.
    """
    if coded.groups is None:
        raise ConfigError("metric parity needs a task whose rows stand in groups")
    index = coded.groups.astype(np.intp)
    first = np.zeros(index.max() + 1)
    first[index[::-1]] = coded.predicted[::-1]
    return _share_of_groups(coded.groups, (coded.predicted == first[index]).astype(np.float64), counts)


def f1(coded: Coded, counts: Floats) -> Floats:
    """F1 of the label ``yes``; raises ConfigError when the task has no such label."""
    if POSITIVE_LABEL not in coded.labels:
        raise ConfigError(f"metric f1 needs the label {POSITIVE_LABEL!r}, found {coded.labels}; use macro_f1")
    return _f1_by_class(_confusion(coded, counts))[:, coded.labels.index(POSITIVE_LABEL)]


def macro_f1(coded: Coded, counts: Floats) -> Floats:
    """Mean F1 over the labels that occur, as gold or as answer, in the (re)sample."""
    if coded.gold.ndim == 2:
        hits, gold, answered = _set_counts(coded, counts)
        number = ((gold > 0) | (answered > 0)).sum(axis=1)
        return np.asarray(_ratio(2 * hits, gold + answered).sum(axis=1) / number, dtype=np.float64)
    table = _confusion(coded, counts)
    occurs = table.any(axis=2) | table[:, :, :-1].any(axis=1)
    return np.asarray((_f1_by_class(table) * occurs).sum(axis=1) / occurs.sum(axis=1), dtype=np.float64)


def micro_f1(coded: Coded, counts: Floats) -> Floats:
    """F1 over all labels of all sets together: twice the hits over the labels of gold and of answers."""
    hits, gold, answered = (each.sum(axis=1) for each in _set_counts(coded, counts))
    return _ratio(2 * hits, gold + answered)


def sample_f1(coded: Coded, counts: Floats) -> Floats:
    """Mean over items of the F1 of gold and answered set; 0 for a malformed answer."""
    hits = (coded.gold * coded.predicted).sum(axis=1)
    each = _ratio(2 * hits, coded.gold.sum(axis=1) + coded.predicted.sum(axis=1))
    return np.asarray(counts @ each / counts.sum(axis=1), dtype=np.float64)


def balanced_accuracy(coded: Coded, counts: Floats) -> Floats:
    """Mean over the labels that occur as gold of the share of right answers among their items (their recall)."""
    if coded.gold.ndim == 2:
        hits, gold, _ = _set_counts(coded, counts)
        return np.asarray(_ratio(hits, gold).sum(axis=1) / (gold > 0).sum(axis=1), dtype=np.float64)
    table = _confusion(coded, counts)
    gold = table.sum(axis=2)
    recalls = _ratio(np.diagonal(table, axis1=1, axis2=2), gold)
    return np.asarray(recalls.sum(axis=1) / (gold > 0).sum(axis=1), dtype=np.float64)


def matthews(coded: Coded, counts: Floats) -> Floats:
    """Matthews correlation, for K labels the R_K of Gorodkin 2004; 0 when gold or answers are constant."""
    table = _confusion(coded, counts)
    right = np.trace(table, axis1=1, axis2=2)
    total = table.sum(axis=(1, 2))
    gold, predicted = table.sum(axis=2), table.sum(axis=1)
    both = right * total - (gold * predicted[:, :-1]).sum(axis=1)
    spread = (total**2 - (gold**2).sum(axis=1)) * (total**2 - (predicted**2).sum(axis=1))
    return _ratio(both, np.sqrt(spread))


def pearson(coded: Coded, counts: Floats) -> Floats:
    """Pearson correlation of gold and answers; 0 when either is constant."""
    return _correlation(coded.gold[None, :], coded.predicted[None, :], counts)


def spearman(coded: Coded, counts: Floats) -> Floats:
    """Spearman correlation, ties sharing their mean rank; 0 when either is constant."""
    return _correlation(_ranks(coded.gold, counts), _ranks(coded.predicted, counts), counts)


def auc(scores: Coded, counts: Floats) -> Floats:
    """Share of (right, wrong) answers of which the right one scores higher, ties counting half; 0.5 is chance.

    Args:
        scores: ``gold`` is 1 for a right answer and 0 for a wrong one, ``predicted`` its score.
        counts: Shape (B, n).
    Returns:
        Shape (B,); NaN for a resample of right, or of wrong, answers alone.
    Source:
        Mann & Whitney 1947: the rank sum of the right answers, less its smallest, over the number of such pairs.
    """
    right = counts @ scores.gold
    wrong = counts.sum(axis=1) - right
    rank_sum = (counts * _ranks(scores.predicted, counts)) @ scores.gold
    pairs = right * wrong
    return np.where(pairs > 0, (rank_sum - right * (right + 1) / 2) / np.where(pairs > 0, pairs, 1.0), np.nan)


METRICS: Mapping[str, Metric] = {
    "accuracy": accuracy,
    "exact_match": exact_match,
    "token_f1": token_f1,
    "parity": parity,
    "f1": f1,
    "macro_f1": macro_f1,
    "balanced_accuracy": balanced_accuracy,
    "micro_f1": micro_f1,
    "sample_f1": sample_f1,
    "matthews": matthews,
    "pearson": pearson,
    "spearman": spearman,
}
CORRELATIONS = ("pearson", "spearman")
OF_SETS = ("accuracy", "macro_f1", "balanced_accuracy", "micro_f1", "sample_f1")
"""Metrics of tasks whose answers are sets of labels; the last two take one label for a set of one."""


OF_CANDIDATES = ("token_f1", "accuracy", "exact_match")
"""Metrics of tasks whose answers are candidates of their row."""


def encode(
    metric: str,
    gold: Sequence[Label],
    answers: Sequence[Label | None],
    space: AnswerSpace,
    groups: Sequence[str] | None = None,
) -> Coded:
    """Gold labels and answers as numbers, in the form that ``metric`` reads.

    Args:
        metric: Its name.
        gold, answers: One each for every item.
        space: What answers can be.
        groups: Name of the group of each item; None where each stands alone.
    Raises:
        UnknownNameError: No such metric.
        DataError: No items, lengths differ, or a label that the task does not have.
        ConfigError: The metric does not fit the task.
    """
    if metric not in METRICS:
        raise UnknownNameError("metric", metric, METRICS)
    if len(gold) != len(answers):
        raise DataError(f"{metric}: {len(gold)} gold labels and {len(answers)} answers; expected as many of each")
    if not gold:
        raise DataError(f"{metric}: there are no predictions to measure; evaluate at least one test item")
    if groups is not None:
        coded = encode(metric, gold, answers, space)
        numbers = {name: number for number, name in enumerate(dict.fromkeys(groups))}
        return replace(coded, groups=np.array([numbers[name] for name in groups], dtype=np.float64))
    if getattr(space, "candidates", ""):
        return _of_candidates(metric, gold, answers)
    if metric == "token_f1":
        raise ConfigError("metric token_f1 needs a task whose answers are candidates of their row; use f1 or macro_f1")
    has_sets = bool(getattr(space, "multi_label", False))
    if has_sets and metric not in OF_SETS:
        raise ConfigError(f"metric {metric} does not fit sets of labels; expected one of {', '.join(OF_SETS)}")
    if has_sets or metric in ("micro_f1", "sample_f1"):
        return _as_sets(metric, gold, answers, space)
    read = _as_numbers if metric in CORRELATIONS else _as_codes
    return read(metric, gold, answers, space)


def score_predictions(metric: str, gold: Sequence[Label], answers: Sequence[Label | None], space: AnswerSpace) -> float:
    """One metric over all items; errors as in :func:`encode`."""
    return measure(metric, encode(metric, gold, answers, space))


def measure(metric: str, coded: Coded) -> float:
    """One metric over all items of ``coded``."""
    return float(METRICS[metric](coded, np.ones(len(coded.gold))[None]).item())


def _as_numbers(metric: str, gold: Sequence[Label], answers: Sequence[Label | None], space: AnswerSpace) -> Coded:
    if space.numeric_range is None:
        raise ConfigError(f"metric {metric} needs a numeric task; its labels are {', '.join(space.labels)}")
    middle = sum(space.numeric_range) / 2
    read = [middle if answer is None else float(answer) for answer in answers]
    return Coded(np.array([float(label) for label in gold]), np.array(read))


def _as_codes(metric: str, gold: Sequence[Label], answers: Sequence[Label | None], space: AnswerSpace) -> Coded:
    if not space.labels:
        raise ConfigError(f"metric {metric} needs a task with labels; numeric tasks have pearson and spearman")
    codes = {label: float(position) for position, label in enumerate(space.labels)}
    strange = sorted({str(label) for label in {*gold, *answers} if label is not None} - set(codes))
    if strange:
        raise DataError(f"{metric}: found {', '.join(strange)}; expected one of {', '.join(codes)}")
    malformed = float(len(codes))
    read = [malformed if answer is None else codes[str(answer)] for answer in answers]
    return Coded(np.array([codes[str(label)] for label in gold]), np.array(read), tuple(codes))


def _of_candidates(metric: str, gold: Sequence[Label], answers: Sequence[Label | None]) -> Coded:
    """What each answer reaches of its gold answers; no resample changes that."""
    if metric not in OF_CANDIDATES:
        raise ConfigError(
            f"metric {metric} does not fit candidates of a row; expected one of {', '.join(OF_CANDIDATES)}"
        )
    reached = gold_answers.token_f1 if metric == "token_f1" else gold_answers.is_one_of
    scores = [float(reached(answer, label)) for answer, label in zip(answers, gold, strict=True)]
    return Coded(np.ones(len(scores)), np.array(scores))


def _right(coded: Coded) -> Floats:
    """1 for each item whose answer is right, else 0. Shape (n,)."""
    unequal = np.abs(coded.gold - coded.predicted).reshape(len(coded.gold), -1).sum(axis=1)
    return np.asarray(unequal == 0, dtype=np.float64)


def _share_of_groups(groups: Floats, facts: Floats, counts: Floats) -> Floats:
    """Share of groups all of whose items have a fact, each group counted as often as its items on average."""
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1.0))
    sizes = np.diff(starts, append=len(groups))
    holds = np.minimum.reduceat(facts[order], starts)
    weights = np.add.reduceat(counts[:, order], starts, axis=1) / sizes
    return np.asarray(weights @ holds / weights.sum(axis=1), dtype=np.float64)


def _as_sets(metric: str, gold: Sequence[Label], answers: Sequence[Label | None], space: AnswerSpace) -> Coded:
    """Sets of labels as rows of 0 and 1, written ``a, b``; of a task with one label, sets of one."""
    if not space.labels:
        raise ConfigError(f"metric {metric} needs a task with labels; numeric tasks have pearson and spearman")
    several = bool(getattr(space, "multi_label", False))
    places = {label: place for place, label in enumerate(space.labels)}
    rows = np.zeros((2, len(gold), len(places)))
    for side, texts in enumerate((gold, answers)):
        for number, text in enumerate(texts):
            for label in () if text is None else str(text).split(", ") if several else (str(text),):
                if label not in places:
                    raise DataError(f"{metric}: found {label}; expected one of {', '.join(places)}")
                rows[side, number, places[label]] = 1
    return Coded(rows[0], rows[1], tuple(places))


def _set_counts(coded: Coded, counts: Floats) -> tuple[Floats, Floats, Floats]:
    """Of each label, resampled: hits, times in gold, times answered. Shape (B, K) each."""
    hits = counts @ (coded.gold * coded.predicted)
    return hits, counts @ coded.gold, counts @ coded.predicted


def _confusion(coded: Coded, counts: Floats) -> Floats:
    """Resampled confusion tables. Shape (B, K gold, K + 1 answered); the last column is malformed."""
    labels = len(coded.labels)
    cell = (coded.gold * (labels + 1) + coded.predicted).astype(np.intp)
    is_in = cell[:, None] == np.arange(labels * (labels + 1))
    return np.asarray(counts @ is_in, dtype=np.float64).reshape(-1, labels, labels + 1)


def _f1_by_class(table: Floats) -> Floats:
    """F1 of each label: twice the hits over gold plus answered. Shape (B, K)."""
    hits = np.diagonal(table, axis1=1, axis2=2)
    return _ratio(2 * hits, table.sum(axis=2) + table[:, :, :-1].sum(axis=1))


def _ranks(values: Floats, counts: Floats) -> Floats:
    """Mean rank of each item within each resample, ties shared. Shape (B, n)."""
    unique, group = np.unique(values, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(len(unique)))
    sizes = np.add.reduceat(counts[:, order], starts, axis=1)
    middle = np.cumsum(sizes, axis=1) - sizes / 2 + 0.5
    return np.asarray(middle[:, group], dtype=np.float64)


def _correlation(x: Floats, y: Floats, counts: Floats) -> Floats:
    """Correlation under counts. ``x`` and ``y`` have shape (1, n) or (B, n)."""
    total = counts.sum(axis=1, keepdims=True)
    x = x - (counts * x).sum(axis=1, keepdims=True) / total
    y = y - (counts * y).sum(axis=1, keepdims=True) / total
    spread_x, spread_y = (counts * x * x).sum(axis=1), (counts * y * y).sum(axis=1)
    return _ratio((counts * x * y).sum(axis=1), np.sqrt(spread_x * spread_y))


def _ratio(top: Floats, bottom: Floats) -> Floats:
    """``top / bottom``, and 0 where ``bottom`` is 0 up to rounding."""
    return np.divide(top, bottom, out=np.zeros_like(top), where=~np.isclose(bottom, 0.0, atol=1e-12))
