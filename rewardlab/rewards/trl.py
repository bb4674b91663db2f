"""The bridge to TRL: any rewardlab reward as a ``reward_funcs`` callable for GRPO and RLOO.

The other direction, a TRL callable as a rewardlab reward, is ``trl_functions``.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rewardlab.config import RewardConfig
from rewardlab.errors import ConfigError, DataError
from rewardlab.rewards.learned import reward_context
from rewardlab.rewards.plan import build_reward, plan_reward
from rewardlab.tasks import resolve_task
from rewardlab.tasks.rows import RowProblem, read_label
from rewardlab.tasks.task import Task
from rewardlab.types import ANSWER_FORMATS, PAIR_KINDS, AnswerFormat, Example, Label, PairKind, Reward

logger = logging.getLogger(__name__)
Message = Mapping[str, Any]


class TRLReward:
    """A rewardlab reward with the signature that TRL calls; made by :func:`as_trl_reward`.

    Attributes:
        __name__: How TRL's logs call it.
        needs_gold: True when it reads the column ``label``.
    """

    def __init__(self, reward: Reward, task: Task, format: AnswerFormat) -> None:
        self.__name__ = reward.name
        self.needs_gold = reward.needs_gold
        self._needs_groups = getattr(reward, "needs_groups", False)
        self._reward = reward
        self._task = task
        self._format: AnswerFormat = format

    def __call__(
        self, prompts: Sequence[Any], completions: Sequence[str | Sequence[Message]], **columns: Any
    ) -> list[float | None]:
        """Score completions.

        Args:
            prompts: One per completion; the text is not read, the task's own fields are. Without a column ``id``, equal
                prompts tell group operators which completions belong together.
            completions: Plain text, or lists of messages whose assistant texts are joined.
            columns: The data set's other columns (``label``, ``id``, the task's fields) and what TRL adds.
        Returns:
            One number per completion; None, which TRL leaves out of its sums, where judging failed.
        Raises:
            DataError: A label or a field is missing that the reward needs, or a label is none of the task's.
        """
        labels = self._labels(self._column("label", columns), len(completions))
        fields = self._fields(columns)
        ids = self._ids(columns.get("id"), prompts)
        examples = [self._example(row, label, fields, ids) for row, label in enumerate(labels)]
        responses = [_response(completion) for completion in completions]
        return [score.score for score in self._reward(examples, responses)]

    def _ids(self, given: Sequence[Any] | None, prompts: Sequence[Any]) -> Sequence[Any] | None:
        """Ids of the rows; where groups are compared and no ids are given, the prompts stand for them."""
        if not self._needs_groups:
            return given
        ids = list(map(repr, prompts)) if given is None else given
        if len(ids) > 1 and len(set(map(str, ids))) == len(ids):
            logger.warning(
                "reward %r compares the responses to one prompt, and was called with one response to each; let "
                "num_generations divide per_device_train_batch_size * steps_per_generation, so that every process "
                "has whole groups",
                self.__name__,
            )
        return ids

    def _column(self, name: str, columns: Mapping[str, Any]) -> Sequence[Any] | None:
        """The values of a field, or of ``label``: under the name that the task's rows give it, or our own."""
        return next((columns[each] for each in (*self._task.sources(name), name) if each in columns), None)

    def _fields(self, columns: Mapping[str, Any]) -> dict[str, Sequence[Any]]:
        found = {name: self._column(name, columns) for name in self._task.fields}
        missing = [name for name, column in found.items() if column is None]
        if missing and getattr(self._reward, "needs_prompt", False):
            raise DataError(
                f"reward {self.__name__!r} reads the task's field {', '.join(map(repr, missing))}, and the data set "
                f"has no such column; its columns are {', '.join(sorted(columns)) or 'none'} (task {self._task.name})"
            )
        return {name: column for name, column in found.items() if column is not None}

    def _labels(self, column: Sequence[Any] | None, rows: int) -> list[Label | None]:
        if column is None and self.needs_gold:
            raise DataError(
                f"reward {self.__name__!r} needs gold labels, and the data set has no column "
                f"{self._task.sources('label')[0]!r}; add one with the labels of the task"
            )
        return [self._label(row, value) for row, value in enumerate(column or [None] * rows)]

    def _label(self, row: int, value: Any) -> Label | None:
        try:
            return None if value is None else read_label(value, self._task)
        except RowProblem as problem:
            raise DataError(f"column 'label' row {row}: {problem}; task {self._task.name}") from problem

    def _example(
        self, row: int, label: Label | None, fields: Mapping[str, Sequence[Any]], ids: Sequence[Any] | None
    ) -> Example:
        name = str(row) if ids is None else str(ids[row])
        texts = {field: column[row] for field, column in fields.items()}
        return Example(self._task.name, name, texts, label, self._format)


def as_trl_reward(
    reward: Reward | str,
    task: Task | str | Path,
    format: AnswerFormat = "rationale",
    *,
    rm: Mapping[PairKind, Path | str] | None = None,
    lam: str | float | None = None,
    r2: PairKind = "ranked",
    label_shares: Mapping[Label, float] | None = None,
) -> TRLReward:
    """Make a callable for the ``reward_funcs`` of TRL's GRPOTrainer and RLOOTrainer.

    It scores plain completions and conversations. Learned rewards are loaded with the base model that they were trained
    on, on this process's GPU where there is one. Quantiles and z-scores, of lambda and of ``q`` and ``z`` in
    expressions, are read from the scores that each reward model has stored on SFT samples. Group operators compare the
    completions of one call that share an ``id``, or else a prompt; on several processes TRL keeps a group together only
    when ``num_generations`` divides ``per_device_train_batch_size * steps_per_generation``.

    Args:
        reward: A reward, or an expression such as ``"rule - 0.1 * length"``, ``"mixed"`` or ``"label"``; also
            ``"package.module:function"``.
        task: The task whose rows the data set holds: itself, its name, or its file (``"tickets/tickets.toml"``).
        format: The answer format that the prompts ask for.
        rm: Pair kind -> folder made by ``rewardlab rm train``, of the learned rewards in the expression.
        lam: Lambda of ``mixed``, as for ``--lambda``: a number, a quantile (``"q90"``) or a z-score (``"1.5z"``).
        r2: The second reward model of ``mixed``.
        label_shares: Gold label -> its share among the prompts, for ``rule_balanced``.
    Returns:
        ``(prompts, completions, **columns) -> list[float | None]``. The data set gives gold labels in a column
        ``label`` when the reward reads them and, for learned rewards, the task's fields in columns of their own, under
        the names that the task's own rows have or ours. Prompts are not read: a reward model sees the task's prompt.
    Raises:
        ExpressionError, ConfigError: The expression cannot be read, or lacks a reward model or lambda; ``rm`` names
            what is no pair kind; a reward that is no expression came with ``rm`` or ``lam``.
        ModelError: A folder is no finished reward model, or they do not belong to one base model.
        InputError: The task is unknown, or is several.
    Example:
        >>> import rewardlab as rl
        >>> func = rl.as_trl_reward("rule", "agnews")
        >>> func(prompts=["..."], completions=["A match. \\n\\n The answer is: Sports"], label=["Sports"])
        [1.0]
    """
    if format not in ANSWER_FORMATS:
        raise ConfigError(f"as_trl_reward: format = {format!r}; expected {', '.join(ANSWER_FORMATS)}")
    found = task if isinstance(task, Task) else resolve_task(str(task), "as_trl_reward")
    if not isinstance(reward, str):
        if not isinstance(reward, Reward):
            raise ConfigError(f"as_trl_reward: found {reward!r:.60}, expected a reward or an expression such as 'rule'")
        if rm or lam is not None:
            raise ConfigError("rm and lam belong to an expression; this reward is built already, leave them out")
        return TRLReward(reward, found, format)
    if unknown := {*(rm or {}), r2} - set(PAIR_KINDS):
        raise ConfigError(f"rm or r2 names {', '.join(sorted(unknown))}; expected some of {', '.join(PAIR_KINDS)}")
    config = RewardConfig.model_validate({"expression": reward, "lam": lam, "r2": r2})
    plan = plan_reward(config)
    if unused := set(rm or {}) - plan.pair_kinds:
        raise ConfigError(f"rm names {', '.join(sorted(unused))}, which {reward!r} does not use; leave it out")
    folders = {kind: Path(folder) for kind, folder in (rm or {}).items()}
    if plan.needs_shares and label_shares is None:
        raise ConfigError(
            f"reward {reward!r} weighs gold labels by their shares; give label_shares={{label: share of the prompts}}"
        )
    shares = None if label_shares is None else {found.name: label_shares}
    return TRLReward(build_reward(config, reward_context([plan], folders, config.reading, shares)), found, format)


def _response(completion: str | Sequence[Message]) -> str:
    return completion if isinstance(completion, str) else "".join(map(_content, completion))


def _content(message: Message) -> str:
    """The text of an assistant message; other roles (tool results) are no part of the response."""
    if message.get("role", "assistant") != "assistant":
        return ""
    content = message.get("content") or ""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
