"""Rewards without a model: the verifiable rule of PPO-NLU 4.3, and the response's length."""

from __future__ import annotations

from collections.abc import Sequence

from rewardlab.errors import DataError
from rewardlab.rewards.registry import RewardEntry, register_reward, rewards
from rewardlab.tasks.sets import set_f1, set_jaccard
from rewardlab.tasks.task import Task, parse_response, tasks
from rewardlab.types import Example, Label, Reading, Score

MALFORMED = -1.0
WRONG = 0.0
RIGHT = 1.0
WORDS_PER_UNIT = 100


class RuleReward:
    """Compare the answer with the gold label.

    Sets of labels: F1 of the two sets, -1 when no answer can be read.
    Classification: 1 right, 0 another valid label, -1 when no answer can be read. Numeric tasks: half the width
    of the scale minus the distance to gold (2.5 - |error| on STS-B's 0-5), and minus that half when no number in
    the range can be read.

    Args:
        reading: ``lenient`` accepts a label in quotes, Markdown or another case; ``strict`` requires the exact format.
    Raises:
        DataError: When called on an example without a gold label.
    Source:
        PPO-NLU section 4.3.
    """

    name = "rule"
    needs_gold = True

    def __init__(self, reading: Reading = "lenient") -> None:
        self.reading: Reading = reading

    def __call__(self, examples: Sequence[Example], responses: Sequence[str]) -> list[Score]:
        """Score each response; see :class:`rewardlab.types.Reward`."""
        return [self._judge(example, response) for example, response in zip(examples, responses, strict=True)]

    def _judge(self, example: Example, response: str) -> Score:
        if example.label is None:
            raise DataError(
                f"task {example.task}: row {example.id} has no gold label, which the rule reward needs; "
                "use labelled prompts or a reward model"
            )
        task = tasks.get(example.task)
        answer = parse_response(example, response)
        value = answer.read(self.reading)
        score = rule_score(task, value, example.label)
        reason = "" if value is not None else f"malformed: {answer.reason or 'the exact answer format is broken'}"
        return Score(score, {self.name: score}, {self.name: score}, answer, reason)


def rule_score(task: Task, value: Label | None, gold: Label) -> float:
    """The rule's number for one answer; ``value`` None is a malformed response."""
    if task.numeric_range is not None and task.is_numeric:
        half = (task.numeric_range[1] - task.numeric_range[0]) / 2
        return -half if value is None else half - abs(float(value) - float(gold))
    if value is None:
        return MALFORMED
    if task.multi_label:
        return set_f1(value, gold)
    return RIGHT if task.is_right(value, gold) else WRONG


rewards.add(
    "rule",
    RewardEntry(
        "rule",
        lambda context: RuleReward(context.reading),
        "1 right label, 0 wrong, -1 malformed; sets: F1; numeric tasks: 2.5 - |error|, malformed -2.5 (PPO-NLU 4.3)",
        needs_gold=True,
        needs_prompt=False,
    ),
)


def _overlap(task: Task, value: Label, gold: Label) -> float:
    """Jaccard's index of two sets; of other answers whether they are the same as printed."""
    if task.multi_label:
        return set_jaccard(value, gold)
    return float(task.is_right(value, gold))


@register_reward("jaccard", needs_gold=True, needs_prompt=False)
def jaccard(examples: Sequence[Example], responses: Sequence[str]) -> list[Score]:
    """Common labels of answer and gold over all of either, -1 malformed; for sets of labels, else 1 or 0."""
    scores = []
    for example, response in zip(examples, responses, strict=True):
        if example.label is None:
            raise DataError(f"task {example.task}: row {example.id} has no gold label, which jaccard needs")
        answer, task = parse_response(example, response), tasks.get(example.task)
        value = MALFORMED if answer.value is None else _overlap(task, answer.value, example.label)
        scores.append(Score(value, {"jaccard": value}, {"jaccard": value}, answer))
    return scores


@register_reward("length", needs_prompt=False)
def length(examples: Sequence[Example], responses: Sequence[str]) -> list[float]:
    """Length of the response, in hundreds of words; a control, or a penalty with a negative weight."""
    return [len(response.split()) / WORDS_PER_UNIT for response in responses]
