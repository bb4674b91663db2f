"""``rule_balanced``: the rule reward in which all gold labels weigh the same, however rare they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from statistics import fmean

from rewardlab.errors import ConfigError
from rewardlab.rewards.context import LabelShares
from rewardlab.rewards.registry import RewardEntry, rewards
from rewardlab.rewards.rule import RuleReward
from rewardlab.tasks.sets import labels_in
from rewardlab.tasks.task import tasks
from rewardlab.types import Example, Label, Reading, Score


def label_shares(examples: Iterable[Example]) -> dict[str, dict[Label, float]]:
    """Task -> gold label -> its share among the labelled prompts, numbers left out; each prompt counts once.

    Example:
        >>> rows = [Example("mr", str(place), {}, "positive" if place else "negative") for place in range(4)]
        >>> label_shares(rows)
        {'mr': {'negative': 0.25, 'positive': 0.75}}
    """
    gold = {(row.task, row.id): row.label for row in examples if isinstance(row.label, str)}
    counts: dict[str, Counter[Label]] = {}
    for (task, _), label in gold.items():
        counts.setdefault(task, Counter()).update(_labels_of(task, label))
    return {task: {label: n / own.total() for label, n in own.items()} for task, own in counts.items()}


def balanced_weight(shares: Mapping[Label, float], gold: Label) -> float:
    """1 / (K share): what a gold label weighs. Over the prompts the weights have a mean of 1.

    Args:
        shares: Gold label -> its share among the prompts; K labels.
        gold: One of them. A label that no prompt has weighs as much as the rarest.
    Source:
        The weights that scikit-learn calls ``balanced`` (King & Zeng 2001, on rare events).
    """
    return 1 / (len(shares) * shares.get(gold, min(shares.values())))


class BalancedRule(RuleReward):
    """The rule reward times the weight of the gold label; numeric tasks as in :class:`RuleReward`.

    Args:
        reading: As for :class:`RuleReward`.
        shares: Task -> gold label -> its share among the prompts.
    Raises:
        DataError: When called on an example without a gold label.
        ConfigError: When called on a task whose shares are not known.
    """

    name = "rule_balanced"

    def __init__(self, reading: Reading = "lenient", shares: LabelShares | None = None) -> None:
        super().__init__(reading)
        self._shares = dict(shares or {})

    def _judge(self, example: Example, response: str) -> Score:
        found = super()._judge(example, response)
        if isinstance(example.label, str) and found.score is not None:
            value = found.score * self._weight(example.task, example.label)
            return replace(found, score=value, parts={self.name: value}, terms={self.name: value})
        return found

    def _weight(self, task: str, gold: Label) -> float:
        if task not in self._shares:
            raise ConfigError(
                f"reward {self.name!r} weighs gold labels by their shares among the prompts, and those of task {task} "
                "are not known here; give label_shares, or use rule"
            )
        return fmean(balanced_weight(self._shares[task], label) for label in _labels_of(task, gold))


def _labels_of(task: str, gold: Label) -> tuple[Label, ...]:
    """A gold label, or the labels of a set."""
    return labels_in(gold) if tasks.get(task).multi_label else (gold,)


rewards.add(
    "rule_balanced",
    RewardEntry(
        "rule_balanced",
        lambda context: BalancedRule(context.reading, context.label_shares),
        "rule times 1 / (number of labels x share of the gold label among the prompts); numeric tasks: as rule",
        needs_gold=True,
        needs_prompt=False,
        needs_shares=True,
    ),
)
