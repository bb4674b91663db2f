"""Labels that do not fit into the response budget: a response that prints one is cut, so it can never be right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rewardlab.tasks.task import Task
from rewardlab.types import AnswerFormat, Label

NARROW = 0.5
"""Share of the budget from which on a label alone draws a warning: a model that writes a little more is cut."""


@dataclass(frozen=True, slots=True)
class LongLabels:
    """The labels of one task that are longer than the budget, or nearly so.

    Attributes:
        task, format: Of the responses.
        longest: The longest label.
        tokens: Length of its bare response, the end token included.
        too_long: Number of labels that are longer than the budget.
        of: Number of labels the task has.
        budget: ``model.max_new_tokens``.
    """

    task: str
    format: AnswerFormat
    longest: Label
    tokens: int
    too_long: int
    of: int
    budget: int

    def __str__(self) -> str:
        where = f"task {self.task}, format {self.format}"
        if not self.too_long:
            return (
                f"{where}: the longest label, {self.longest!r}, takes {self.tokens} of the {self.budget} tokens of "
                "model.max_new_tokens; raise it where answers are cut"
            )
        room = " and the tokens that rationales need" if self.format == "rationale" else ""
        count = f"{self.too_long} of {self.of} labels {'is' if self.too_long == 1 else 'are'}"
        return (
            f"{where}: {count} longer than the response budget of {self.budget} tokens and can never be answered; the "
            f"longest, {self.longest!r}, needs {self.tokens}{room}: set model.max_new_tokens={self.tokens} or more, or "
            "give the task shorter [words]"
        )


def long_labels(
    task: Task, format: AnswerFormat, budget: int, response_ids: Callable[[str], list[int]]
) -> LongLabels | None:
    """What is to be said of the longest label; None where all labels fit well, or answers are candidates of their row.

    Args:
        task: Its labels, or for a numeric task the ends of its scale.
        format: Answer format of the responses; a rationale is left out, so that what is counted is the least.
        budget: Longest response, tokens, the end token included.
        response_ids: The model's token ids of a response, with the end token.
    """
    labels: tuple[Label, ...] = task.labels or task.numeric_range or ()
    if not labels:
        return None
    tokens = {label: len(response_ids(task.response(label, format))) for label in labels}
    longest = max(labels, key=lambda label: tokens[label])
    too_long = sum(count > budget for count in tokens.values())
    if not too_long and (format == "rationale" or tokens[longest] <= NARROW * budget):
        return None
    return LongLabels(task.name, format, longest, tokens[longest], too_long, len(labels), budget)
