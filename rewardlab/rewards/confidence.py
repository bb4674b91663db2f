"""``brier``: what a stated confidence is worth, for the answer format ``confident``."""

from __future__ import annotations

from collections.abc import Sequence

from rewardlab.errors import DataError
from rewardlab.rewards.registry import RewardEntry, rewards
from rewardlab.tasks.task import parse_response, tasks
from rewardlab.types import Answer, Example, Reading, Score

WORST = -1.0
"""Of a response without an answer or without a confidence: as much as being sure of a wrong answer."""


class BrierReward:
    """-(p - correct)^2, p the confidence that the response states, ``correct`` 1 for the gold label and 0 for others.

    Its expectation is highest where p is the probability of being right: 0 for being sure and right, -0.25 for an
    answer at 50 %, -1 for being sure and wrong, and -1 without an answer or a confidence. A number is correct where it
    equals gold as printed.

    Args:
        reading: Of the answer, ``lenient`` or ``strict``.
    Raises:
        DataError: When called on an example without a gold label.
    Source:
        Brier 1950; as a reward of language models Damani et al. 2025 (arXiv 2507.16806), who add it to correctness.
    """

    name = "brier"
    needs_gold = True

    def __init__(self, reading: Reading = "lenient") -> None:
        self.reading: Reading = reading

    def __call__(self, examples: Sequence[Example], responses: Sequence[str]) -> list[Score]:
        """Score each response; see :class:`rewardlab.types.Reward`."""
        return [self._judge(example, response) for example, response in zip(examples, responses, strict=True)]

    def _judge(self, example: Example, response: str) -> Score:
        if example.label is None:
            raise DataError(
                f"task {example.task}: row {example.id} has no gold label, which the brier reward needs; "
                "use labelled prompts or a reward model"
            )
        answer = parse_response(example, response)
        value, reason = brier_score(example, answer, self.reading)
        return Score(value, {self.name: value}, {self.name: value}, answer, reason)


def brier_score(example: Example, answer: Answer, reading: Reading = "lenient") -> tuple[float, str]:
    """The number for one answer, and why where it is the worst one."""
    value = answer.read(reading)
    if value is None or example.label is None:
        return WORST, f"malformed: {answer.reason or 'the exact answer format is broken'}"
    if answer.confidence is None:
        return WORST, "states no confidence"
    is_right = tasks.get(example.task).is_right(value, example.label)
    return -((answer.confidence - is_right) ** 2), ""


rewards.add(
    "brier",
    RewardEntry(
        "brier",
        lambda context: BrierReward(context.reading),
        "-(stated confidence - correct)^2 of the format confident; -1 without answer or confidence (Brier 1950)",
        needs_gold=True,
        needs_prompt=False,
        formats=("confident",),
    ),
)
