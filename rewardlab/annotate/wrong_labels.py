"""Wrong labels for label-sensitive pairs, without giving themselves away.

Classes: uniform among the other labels. Sets of labels: one label dropped, added or swapped. Candidates of a
row: uniform among its wrong ones.

Numbers follow RLLR appendix D: gold + 3 + u with u from [-1, 1], minus 5
above the maximum. Drawn naively, such a number betrays itself: 97 % of STS-B's scores are multiples of 0.05, and a
scorer that sees only the label wins 99 % of the pairs. Here the wrong number is drawn, by frequency, among the label
values of the training rows that satisfy the rule, and printed as gold is printed. The frequencies are weighted so
that each value is a wrong label as often as it is gold, as far as the rule allows: unweighted, a label-only scorer
still wins 60 % on STS-B and 78 % on AppReviews, weighted 57 % and 64 %.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rewardlab.annotate.base import seeded
from rewardlab.errors import DataError
from rewardlab.tasks.sets import joined, labels_in
from rewardlab.tasks.task import Task
from rewardlab.types import Example, Label

_SHIFT, _SPREAD = 0.6, 0.2
"""Shift as a share of the span: 3 and 1 of RLLR's span of 5."""
_EDGE = 1e-9
_ROUNDS = 50
"""Rounds of proportional fitting; what is left after them is what the rule does not allow."""
_MOST_VALUES = 500
"""Beyond this many different values fitting would take seconds, and no value is frequent enough to tell much."""


@dataclass(frozen=True, slots=True)
class NumberRule:
    """RLLR's wrong-number rule, on any scale.

    Attributes:
        lowest, highest: The scale.
        is_integer: True for labels that are whole numbers (stars).
    """

    lowest: float
    highest: float
    is_integer: bool = False

    @property
    def span(self) -> float:
        """What is subtracted above the maximum: the number of labels of an integer scale, else highest - lowest."""
        return self.highest - self.lowest + (1 if self.is_integer else 0)

    def apply(self, gold: float, u: float) -> float:
        """The wrong number for one draw ``u`` from [-1, 1].

        Integers are rounded half up BEFORE wrapping; afterwards, gold 2 and 3 of five stars could fall to 0.

        Example:
            >>> round(NumberRule(0, 5).apply(2.8, 0.3), 6), NumberRule(1, 5, is_integer=True).apply(2, 1.0)
            (1.1, 1)
        """
        moved = gold + (_SHIFT + _SPREAD * u) * self.span
        moved = math.floor(moved + 0.5) if self.is_integer else moved
        return moved - self.span if moved > self.highest + _EDGE else moved

    def allows(self, gold: float, wrong: float) -> bool:
        """True when some ``u`` turns ``gold`` into ``wrong``."""
        if wrong == gold or not self.lowest <= wrong <= self.highest:
            return False
        near, far = (gold + (_SHIFT + sign * _SPREAD) * self.span for sign in (-1, 1))
        if self.is_integer:
            near, far = math.floor(near + 0.5), math.floor(far + 0.5)
        unwrapped = near - _EDGE <= wrong <= far + _EDGE
        lifted = wrong + self.span
        return unwrapped or (lifted > self.highest + _EDGE and near - _EDGE <= lifted <= far + _EDGE)

    def draw(self, gold: float, rng: random.Random) -> float:
        """The naive draw; redrawn while it falls below the minimum or on gold itself."""
        while True:
            wrong = self.apply(gold, rng.uniform(-1, 1))
            if self.lowest <= wrong != gold:
                return wrong


class WrongLabels:
    """Draws wrong labels for one task.

    Args:
        task: The task.
        observed: Gold labels of its training rows; None entries are passed over.
    """

    def __init__(self, task: Task, observed: Sequence[Label | None]) -> None:
        self.task = task
        self._counts = Counter(label for label in observed if label is not None)
        self._rule = _rule_of(task)
        self._weights = balanced_weights(self._counts, self._rule) if self._rule else {}
        self._allowed: dict[Label, Mapping[Label, float]] = {}

    def of(self, example: Example, seed: int) -> Label:
        """A wrong label for a labelled row; the same for the same ``seed``. Errors as :meth:`draw`."""
        assert example.label is not None, "callers ask for rows with a gold label"
        if not self.task.candidates:
            return self.draw(example.label, seed, example.id)
        wrong = [text for text in self.task.options(example) if not self.task.is_right(text, example.label)]
        if not wrong:
            raise DataError(f"task {self.task.name}: row {example.id} has no wrong candidate, which a pair needs")
        return seeded("wrong label", self.task.name, seed, example.id).choice(wrong)

    def draw(self, gold: Label, *seed: object) -> Label:
        """A label that is not ``gold``; the same for the same ``seed``.

        Raises:
            DataError: The task has no other label.
        """
        rng = seeded("wrong label", self.task.name, *seed)
        if self.task.multi_label:
            return self._wrong_set(gold, rng)
        if self._rule is None:
            return rng.choice(self._other_labels(gold))
        if gold not in self._allowed:
            self._allowed[gold] = self._observed_wrong(gold, self._rule)
        if allowed := self._allowed[gold]:
            return rng.choices(list(allowed), weights=list(allowed.values()))[0]
        return self._unobserved(gold, self._rule, rng)

    def _wrong_set(self, gold: Label, rng: random.Random) -> str:
        """A set that lacks a label, has one too many, or has one swapped for another; each of these as likely."""
        have = labels_in(gold)
        lacking = [label for label in self.task.labels if label not in have]
        ways = [*(["drop"] if len(have) > 1 else []), *(["add", "swap"] if lacking else [])]
        if not ways:
            raise DataError(f"task {self.task.name}: {gold!r} is its only set; a pair needs a second label")
        way = rng.choice(ways)
        out = rng.choice(have) if way != "add" else None
        put = [rng.choice(lacking)] if way != "drop" else []
        return joined([*(label for label in have if label != out), *put], self.task.labels)

    def _other_labels(self, gold: Label) -> list[str]:
        others = [label for label in self.task.labels if label != gold]
        if not others:
            raise DataError(f"task {self.task.name}: {gold!r} is its only label; a pair needs a second one")
        return others

    def _observed_wrong(self, gold: Label, rule: NumberRule) -> dict[Label, float]:
        return {label: weight for label, weight in self._weights.items() if rule.allows(float(gold), float(label))}

    def _unobserved(self, gold: Label, rule: NumberRule, rng: random.Random) -> Label:
        """The rule's own draw, for data so small that no training label satisfies the rule."""
        wrong = rule.draw(float(gold), rng)
        if not self.task.labels:
            return round(wrong, 1)
        others = self._other_labels(gold)
        return min(others, key=lambda label: abs(float(label) - wrong))


def balanced_weights(counts: Mapping[Label, int], rule: NumberRule) -> dict[Label, float]:
    """How strongly each observed value is drawn as a wrong label, from the smallest value to the largest.

    Frequencies, fitted so that the values' shares among the wrong labels approach their shares among gold labels.

    Args:
        counts: Observed gold values and how often each occurs.
        rule: Which value may be wrong for which.
    Source:
        Iterative proportional fitting (Deming & Stephan 1940).
    """
    values = sorted(counts, key=float)
    weights = {value: float(counts[value]) for value in values}
    if len(values) > _MOST_VALUES:
        return weights
    allowed = {gold: [value for value in values if rule.allows(float(gold), float(value))] for gold in values}
    for _ in range(_ROUNDS):
        drawn = dict.fromkeys(values, 0.0)
        for gold, candidates in allowed.items():
            total = sum(weights[value] for value in candidates)
            for value in candidates:
                drawn[value] += counts[gold] * weights[value] / total
        weights = {value: weights[value] * (counts[value] / drawn[value] if drawn[value] else 1) for value in values}
    return weights


def _rule_of(task: Task) -> NumberRule | None:
    if task.numeric_range is None:
        return None
    return NumberRule(*task.numeric_range, is_integer=not task.is_numeric)
