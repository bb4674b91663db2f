"""The bridge to TRL: any rewardlab reward as a ``reward_funcs`` callable for GRPO and RLOO.

The other direction, a TRL callable as a rewardlab reward, is :func:`rewardlab.rewards.register_trl_reward`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rewardlab.config import RewardConfig
from rewardlab.errors import DataError
from rewardlab.rewards.algebra import build_reward
from rewardlab.tasks import resolve_task
from rewardlab.tasks.rows import RowProblem, read_label
from rewardlab.tasks.task import Task
from rewardlab.types import AnswerFormat, Example, Label, Reward

Message = Mapping[str, Any]


class TRLReward:
    """A rewardlab reward with the signature that TRL calls; made by :func:`as_trl_reward`.

    Attributes:
        __name__: How TRL's logs call it.
    """

    def __init__(self, reward: Reward, task: Task, format: AnswerFormat) -> None:
        self.__name__ = reward.name
        self._reward = reward
        self._task = task
        self._format: AnswerFormat = format

    def __call__(
        self, prompts: Sequence[Any], completions: Sequence[str | Sequence[Message]], **columns: Any
    ) -> list[float | None]:
        """Score completions.

        Args:
            prompts: One per completion; not read, the task's own fields are.
            completions: Plain text, or lists of messages whose assistant texts are joined.
            columns: The data set's other columns (``label``, ``id``, the task's fields) and what TRL adds.
        Returns:
            One number per completion; None, which TRL leaves out of its sums, where judging failed.
        Raises:
            DataError: A label is missing that the reward needs, or is none of the task's.
        """
        labels = self._labels(columns.get("label"), len(completions))
        examples = [self._example(row, label, columns) for row, label in enumerate(labels)]
        responses = [_response(completion) for completion in completions]
        return [score.score for score in self._reward(examples, responses)]

    def _labels(self, column: Sequence[Any] | None, rows: int) -> list[Label | None]:
        if column is None and self._reward.needs_gold:
            raise DataError(
                f"reward {self._reward.name!r} needs gold labels, and the data set has no column 'label'; "
                "add one with the labels of the task"
            )
        return [self._label(row, value) for row, value in enumerate(column or [None] * rows)]

    def _label(self, row: int, value: Any) -> Label | None:
        try:
            return None if value is None else read_label(value, self._task)
        except RowProblem as problem:
            raise DataError(f"column 'label' row {row}: {problem}; task {self._task.name}") from problem

    def _example(self, row: int, label: Label | None, columns: Mapping[str, Any]) -> Example:
        fields = {name: columns[name][row] for name in self._task.fields if name in columns}
        name = str(columns["id"][row]) if "id" in columns else str(row)
        return Example(self._task.name, name, fields, label, self._format)


def as_trl_reward(reward: Reward | str, task: Task | str, format: AnswerFormat = "rationale") -> TRLReward:
    """Make a callable for TRL's ``reward_funcs``.

    Args:
        reward: A reward, or an expression without learned rewards, such as ``"rule - 0.1 * length"``.
        task: The task whose rows the data set holds, its name, or the path of its file.
        format: The answer format that the prompts ask for.
    Returns:
        ``(prompts, completions, **columns) -> list[float | None]``. The data set gives gold labels in a column
        ``label`` and, for learned rewards, the task's fields in columns of their own.
    Example:
        >>> func = as_trl_reward("rule", "agnews")
        >>> func(prompts=["..."], completions=["A match. \\n\\n The answer is: Sports"], label=["Sports"])
        [1.0]
    """
    built = build_reward(RewardConfig(expression=reward)) if isinstance(reward, str) else reward
    return TRLReward(built, resolve_task(task, "as_trl_reward") if isinstance(task, str) else task, format)


def _response(completion: str | Sequence[Message]) -> str:
    return completion if isinstance(completion, str) else "".join(map(_content, completion))


def _content(message: Message) -> str:
    """The text of an assistant message; other roles (tool results) are no part of the response."""
    if message.get("role", "assistant") != "assistant":
        return ""
    content = message.get("content") or ""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
