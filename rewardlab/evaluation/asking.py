"""The prompts an evaluation asks, made to fit: texts are cut as everywhere, then solved examples are left out.

What was cut or left out is counted for ``result.json`` and warned of, so that a "5-shot" row of a table is known to be
one.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rewardlab.errors import DataError
from rewardlab.evaluation.few_shot import Demonstration, chain_of_thought, few_shot_prompt
from rewardlab.models import Codec
from rewardlab.tasks.task import prompt_of, tasks
from rewardlab.types import Example

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Question:
    """One prompt as it is asked.

    Attributes:
        text: Without a model's chat template.
        ids: Its tokens.
        shown: Solved examples in front of it.
        is_cut: True when a text in it, the question's or an example's, was cut to ``model.max_prompt_tokens``.
    """

    text: str
    ids: list[int]
    shown: int
    is_cut: bool


@dataclass(frozen=True, slots=True)
class _Shot:
    """A solved example as it is shown, and whether its text was cut."""

    shown: Demonstration
    is_cut: bool


class Questions:
    """Makes the prompts of one evaluation, each once.

    Args:
        codec: Of the model that is asked; cuts the text of a single row to ``model.max_prompt_tokens``.
        longest: Tokens a whole prompt may have, the context less the response; None: no bound is known.
        shots: Task -> solved examples, in the order they are shown; empty asks zero-shot.
        reasons: Ask for reasoning before each answer.
    """

    def __init__(
        self,
        codec: Codec,
        longest: int | None = None,
        shots: Mapping[str, Sequence[Demonstration]] | None = None,
        *,
        reasons: bool = False,
    ) -> None:
        self._codec = codec
        self._longest = longest
        self._shots = dict(shots or {})
        self._reasons = reasons
        self._made: dict[str, Question] = {}

    def ask(self, example: Example) -> Question:
        """The prompt of ``example``.

        Examples are left out from the front until the rest fits: the last stands next to the question.

        Raises:
            DataError: The question does not fit by itself.
        """
        whole = prompt_of(example)
        if whole not in self._made:
            self._made[whole] = self._fitting(example)
        return self._made[whole]

    def text(self, example: Example) -> str:
        """Text of :meth:`ask`."""
        return self.ask(example).text

    def ids(self, example: Example) -> list[int]:
        """Tokens of :meth:`ask`."""
        return self.ask(example).ids

    def counts(self) -> dict[str, Any]:
        """Prompts so far: how many, how many with a text cut, and by how many examples they show."""
        shown = Counter(question.shown for question in self._made.values())
        return {
            "prompts": len(self._made),
            "cut": sum(question.is_cut for question in self._made.values()),
            "shown": {str(number): count for number, count in sorted(shown.items(), reverse=True)},
        }

    def warn(self) -> None:
        """Say what was cut and left out, when anything was."""
        counts, asked = self.counts(), max(map(len, self._shots.values()), default=0)
        fewer = counts["prompts"] - counts["shown"].get(str(asked), 0)
        if counts["cut"]:
            logger.warning(
                "%d of %d prompts have a text cut to model.max_prompt_tokens = %d",
                *(counts["cut"], counts["prompts"], self._codec.max_prompt_tokens),
            )
        if fewer:
            logger.warning(
                "%d of %d prompts show fewer than %d examples, since the model's context holds %s tokens of prompt; "
                "lower --shots or model.max_prompt_tokens (prompts by examples shown: %s)",
                *(fewer, counts["prompts"], asked, self._longest, counts["shown"]),
            )

    def _fitting(self, example: Example) -> Question:
        question, shots = self._codec.fitted(example), self._fitted(example)
        while len((made := self._made_of(question, shots)).ids) > (self._longest or len(made.ids)):
            if not shots:
                raise DataError(
                    f"task {example.task}, row {example.id}: its prompt has {len(made.ids)} tokens, the model's "
                    f"context holds {self._longest} beside the response; lower model.max_prompt_tokens or "
                    "model.max_new_tokens"
                )
            shots = shots[1:]
        return replace(made, is_cut=made.is_cut or question.fields != example.fields)

    def _fitted(self, example: Example) -> list[_Shot]:
        """The solved examples in the question's format, their texts cut where they are too long."""
        found = []
        for shot in self._shots.get(example.task, ()):
            whole = replace(shot.example, format=example.format)
            cut = self._codec.fitted(whole)
            found.append(_Shot(replace(shot, example=cut), cut.fields != whole.fields))
        return found

    def _made_of(self, question: Example, shots: Sequence[_Shot]) -> Question:
        task = tasks.get(question.task)
        asking = chain_of_thought(task) if self._reasons else ""
        text = few_shot_prompt(task, question, [shot.shown for shot in shots], asking)
        ids = self._codec.text_prompt_ids(text, question.format)
        return Question(text, ids, len(shots), any(shot.is_cut for shot in shots))
