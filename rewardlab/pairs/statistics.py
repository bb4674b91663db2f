"""What pairs are made of: kinds, lengths, and how far a scorer gets that sees almost nothing.

The label-only scorer sees the printed answers, the length-only scorer how long the responses are. A reward model that
does not beat both on held-out pairs has learned nothing about the text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from statistics import fmean, median
from typing import Any

from rewardlab.intervals import Interval, mean_interval
from rewardlab.pairs.rationale_sensitive import pair_kind
from rewardlab.tasks.task import tasks
from rewardlab.types import Label, Pair

SAME = 1e-9
"""Scores closer than this are equal; an equal pair counts as half right."""

MALFORMED = "(malformed)"

Features = Callable[[Sequence[Pair], Sequence[Pair]], tuple[Any, Any]]
"""(training pairs, held-out pairs) -> their feature differences, chosen minus rejected; row per pair."""


def kind_shares(answers: Iterable[Sequence[Label | None]]) -> dict[str, float]:
    """Share of each pair kind among ALL pairs of samples, ties and equal texts included (RLLR Fig. 2).

    Args:
        answers: Per prompt, what was read in each of its samples.
    Returns:
        Shares of ``rationale_sensitive``, ``label_sensitive`` and ``malformed`` pairs, and ``n``, how many there are;
        empty without samples.

    >>> kind_shares([["yes", "yes", "no"]])["label_sensitive"]
    0.6666666666666666
    """
    counts = Counter(pair_kind(*two) for row in answers for two in combinations(row, 2))
    total = sum(counts.values())
    kinds = ("rationale_sensitive", "label_sensitive", "malformed")
    return {"n": total, **{kind: counts[kind] / total for kind in kinds}} if total else {}


def rationale_sensitive_share(answers: Iterable[Sequence[Label | None]], *, readable: bool = False) -> Interval:
    """Share of rationale-sensitive pairs as in :func:`kind_shares`; prompts are resampled, not pairs.

    Args:
        answers: Per prompt, what was read in each of its samples.
        readable: Of the pairs whose two answers could be read; what would differ in a malformed pair is unknown.
    Raises:
        DataError: No prompt has two samples, or two that could be read.
    """
    pairs = [(row, pair_kind(*two)) for row, found in enumerate(answers) for two in combinations(found, 2)]
    counted = [(row, kind) for row, kind in pairs if not readable or kind != "malformed"]
    hits = [float(kind == "rationale_sensitive") for _, kind in counted]
    return mean_interval(hits, [row for row, _ in counted])


def length_statistics(pairs: Sequence[Pair]) -> dict[str, float]:
    """Words in chosen and rejected responses, and how often the chosen one is longer (equal lengths count half)."""
    if not pairs:
        return {}
    chosen, rejected = ([len(text.split()) for text in texts] for texts in _texts(pairs))
    longer = [0.5 if c == r else float(c > r) for c, r in zip(chosen, rejected, strict=True)]
    return {
        "chosen_words_mean": fmean(chosen),
        "rejected_words_mean": fmean(rejected),
        "chosen_words_median": float(median(chosen)),
        "rejected_words_median": float(median(rejected)),
        "chosen_is_longer": fmean(longer),
    }


def baselines(train: Sequence[Pair], held_out: Sequence[Pair]) -> dict[str, float | None]:
    """Held-out accuracy of both scorers, each fitted on the training pairs."""
    return {
        "label_only": label_only_accuracy(train, held_out),
        "length_only": length_only_accuracy(train, held_out),
    }


def label_only_accuracy(train: Sequence[Pair], held_out: Sequence[Pair]) -> float | None:
    """Accuracy of a scorer that sees only the answers, as words and as their characters.

    Args:
        train: Pairs it is fitted on, each task by itself.
        held_out: Pairs it is judged on; those of a task without training pairs count as guessed.
    Returns:
        A share; 0.5 is guessing. None without pairs on both sides.
    """
    return _accuracy(train, held_out, _label_features)


def length_only_accuracy(train: Sequence[Pair], held_out: Sequence[Pair]) -> float | None:
    """Accuracy of a scorer that sees only the number of words and characters; see :func:`label_only_accuracy`."""
    return _accuracy(train, held_out, _length_features)


def by_task(pairs: Sequence[Pair]) -> Mapping[str, list[Pair]]:
    """The pairs of each task, in their order."""
    grouped: dict[str, list[Pair]] = {}
    for pair in pairs:
        grouped.setdefault(pair.task, []).append(pair)
    return grouped


def _accuracy(train: Sequence[Pair], held_out: Sequence[Pair], features: Features) -> float | None:
    if not train or not held_out:
        return None
    known = by_task(train)
    right = [point for name, pairs in by_task(held_out).items() for point in _points(known.get(name), pairs, features)]
    return fmean(right)


def _points(train: Sequence[Pair] | None, held_out: Sequence[Pair], features: Features) -> list[float]:
    """1, 0.5 or 0 per held-out pair: scored right, equal, wrong."""
    import numpy as np
    from scipy.sparse import vstack
    from sklearn.linear_model import LogisticRegression

    if not train:
        return [0.5] * len(held_out)
    seen, unseen = features(train, held_out)
    is_first = np.repeat([True, False], seen.shape[0])
    # each pair goes in both ways round, so that the order of writing does not matter
    model = LogisticRegression(fit_intercept=False, max_iter=2000).fit(vstack([seen, -seen]).tocsr(), is_first)
    margins = model.decision_function(unseen)
    return [0.5 if abs(margin) < SAME else float(margin > 0) for margin in margins]


def _label_features(train: Sequence[Pair], held_out: Sequence[Pair]) -> tuple[Any, Any]:
    from sklearn.feature_extraction.text import CountVectorizer

    vectorizer = CountVectorizer(analyzer=_parts).fit([word for words in _printed(train) for word in words])

    def difference(pairs: Sequence[Pair]) -> Any:
        chosen, rejected = _printed(pairs)
        return vectorizer.transform(chosen) - vectorizer.transform(rejected)

    return difference(train), difference(held_out)


def _parts(word: str) -> list[str]:
    """The word, its characters with their distance from the front and from the end, and its length.

    The characters and the length tell how a number is printed. No two of these names are equal.
    """
    front = [f"front {place} {character}" for place, character in enumerate(word)]
    back = [f"end {place} {character}" for place, character in enumerate(reversed(word))]
    return [f"word {word}", *front, *back, f"length {len(word)}"]


def _length_features(train: Sequence[Pair], held_out: Sequence[Pair]) -> tuple[Any, Any]:
    from scipy.sparse import csr_matrix
    from sklearn.preprocessing import MaxAbsScaler

    def difference(pairs: Sequence[Pair]) -> list[tuple[int, int]]:
        chosen, rejected = _texts(pairs)
        return [(len(c.split()) - len(r.split()), len(c) - len(r)) for c, r in zip(chosen, rejected, strict=True)]

    scaler = MaxAbsScaler().fit(difference(train))
    return csr_matrix(scaler.transform(difference(train))), csr_matrix(scaler.transform(difference(held_out)))


def _texts(pairs: Sequence[Pair]) -> tuple[list[str], list[str]]:
    return [pair.chosen for pair in pairs], [pair.rejected for pair in pairs]


def _printed(pairs: Sequence[Pair]) -> tuple[list[str], list[str]]:
    """The answers as the responses print them."""
    return (
        [_word(pair, pair.chosen_label) for pair in pairs],
        [_word(pair, pair.rejected_label) for pair in pairs],
    )


def _word(pair: Pair, label: Label | None) -> str:
    return MALFORMED if label is None else tasks.get(pair.task).word(label, pair.format)
