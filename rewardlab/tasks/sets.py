"""Answers that are sets of labels (``multi_label = true``): one written form, ``anger, joy``, in the task's order.

Gold labels, answers and files hold this text, so that equal sets are equal texts. Written are the words of the labels,
with a comma and a space between them. Read strictly are such words in any order, none twice; leniently every label that
stands in the answer, whatever is between them ("anger and joy", "joy; anger"). A set has one label at least.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rewardlab.types import Label

BETWEEN = ", "


def joined(labels: Iterable[str], order: Sequence[str]) -> str:
    """The text of a set.

    Args:
        labels: Its labels, in any order.
        order: The task's labels.

    >>> joined(["joy", "anger", "joy"], ["anger", "fear", "joy"])
    'anger, joy'
    """
    found = set(labels)
    return BETWEEN.join(label for label in order if label in found)


def labels_in(text: Label | None) -> tuple[str, ...]:
    """The labels of a set's text; none for a malformed answer.

    >>> labels_in("anger, joy"), labels_in("joy"), labels_in(None)
    (('anger', 'joy'), ('joy',), ())
    """
    return tuple(str(text).split(BETWEEN)) if text else ()


def set_f1(answer: Label | None, gold: Label) -> float:
    """Twice the common labels over those of both, 0 to 1.

    >>> set_f1("anger, joy", "joy")
    0.6666666666666666
    """
    both = set(labels_in(answer)), set(labels_in(gold))
    return 2 * len(both[0] & both[1]) / (len(both[0]) + len(both[1]))


def set_jaccard(answer: Label | None, gold: Label) -> float:
    """The common labels over all that are in either, 0 to 1.

    >>> set_jaccard("anger, joy", "joy")
    0.5
    """
    both = set(labels_in(answer)), set(labels_in(gold))
    return len(both[0] & both[1]) / len(both[0] | both[1])
