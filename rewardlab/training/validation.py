"""What PPO is worth on validation rows while it trains, and the best policy by that measure.

Answers are greedy, so nothing is drawn and training goes on as if nothing had been measured. Gold labels of
validation rows choose among checkpoints; no update sees them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from torch import Tensor

from rewardlab import metrics, processes
from rewardlab.config import PPOConfig
from rewardlab.models.sampler import Sample, SamplingConfig, row_key, sample
from rewardlab.models.trunk import Trunk
from rewardlab.runs import write_jsonl
from rewardlab.tasks.task import parse_response, tasks
from rewardlab.training.rollout import POLICY
from rewardlab.training.schedule import is_limited
from rewardlab.types import Answer, Example

VALIDATION_FILE = "validation.jsonl"
BEST_ADAPTER = "adapter-best"
MEASURES = 5
"""Measures in a run, beside the one before its first step, when ``ppo.validate_every`` is not given."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One measure; one line of ``validation.jsonl``.

    Attributes:
        step: PPO steps taken before it.
        accuracy: Mean over tasks.
        tasks: Task -> share of right answers; Pearson correlation where answers are numbers.
        malformed: Share of responses without an answer.
        response_tokens: Mean length.
        rows: Responses.
    """

    step: int
    accuracy: float
    tasks: Mapping[str, float]
    malformed: float
    response_tokens: float
    rows: int


class Validation:
    """Measures the policy every so often, and remembers the best one.

    Args:
        trunk: Carries the role ``policy``.
        examples: Rows; those without a gold label are left out, and without any nothing is measured.
        config: How often.
        steps: Most of the whole run, which a budget may end before.
        sampling: Of the rollouts; only its temperature is not used.
        folder: The run folder.
    """

    def __init__(
        self,
        trunk: Trunk,
        examples: Sequence[Example],
        config: PPOConfig,
        steps: int,
        sampling: SamplingConfig,
        folder: Path,
    ) -> None:
        self.trunk, self.folder, self.steps = trunk, folder, steps
        self.examples = [row for row in examples if row.label is not None]
        self.every = _cadence(config, steps)
        self.sampling = replace(sampling, temperature=0.0)
        self.measures: list[Measured] = []
        self.best: Measured | None = None
        self._best_adapter: dict[str, Tensor] = {}

    @property
    def is_on(self) -> bool:
        """Whether anything is measured at all."""
        return bool(self.examples) and self.every != 0

    def is_due(self, step: int, before: float = 0.0, spent: float = 0.0) -> bool:
        """Whether the policy is measured after that many steps.

        Args:
            step: Steps taken.
            before, spent: Share of the run's budget that was spent before the last of them, and is now.
        """
        if not self.is_on:
            return False
        if self.every is None:
            return self._marks(step, spent) > self._marks(step - 1, before)
        return step % self.every == 0 or step == self.steps

    def ensure(self, step: int) -> None:
        """Measure the policy after ``step`` steps, the first or the last ones, unless that was done."""
        if self.is_on and (not self.measures or self.measures[-1].step != step):
            self.look(step)

    def look(self, step: int) -> dict[str, float]:
        """Measure the policy after ``step`` steps and keep it if it beats all before; equals do not replace.

        Returns:
            The metrics of the step.
        """
        found = self._measure(step)
        self.measures.append(found)
        if self.best is None or found.accuracy > self.best.accuracy:
            self.best, self._best_adapter = found, self._adapter()
        self._write()
        return {"validation/accuracy": found.accuracy, "validation/malformed": found.malformed}

    def save_best(self) -> None:
        """Store the best policy in ``adapter-best/``; the policy in memory stays the last one."""
        if self.best is None:
            return
        last = self._adapter()
        self.trunk.roles.restore(POLICY, self._best_adapter)
        self.trunk.roles.save(POLICY, self.folder / BEST_ADAPTER)
        self.trunk.roles.restore(POLICY, last)

    def summary(self) -> dict[str, Any] | None:
        """Start, best and last measure for ``result.json``; None when nothing was measured."""
        if self.best is None:
            return None
        measures = {"start": self.measures[0], "best": self.best, "last": self.measures[-1]}
        return {name: asdict(found) for name, found in measures.items()}

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        best = None if self.best is None else asdict(self.best)
        return {"measures": [asdict(each) for each in self.measures], "best": best, "adapter": self._best_adapter}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state`; measures of steps that will be repeated are dropped from the file."""
        self.measures = [Measured(**each) for each in state["measures"]]
        self.best = None if state["best"] is None else Measured(**state["best"])
        self._best_adapter = dict(state["adapter"])
        self._write()

    def _marks(self, step: int, spent: float) -> int:
        """How many of the run's equal parts are over, by its budget or by its most steps, whichever is further."""
        return math.floor(MEASURES * max(spent, step / max(1, self.steps)))

    def _measure(self, step: int) -> Measured:
        samples = self._answers()
        answers = [parse_response(row, found.text) for row, found in zip(self.examples, samples, strict=True)]
        by_task: dict[str, list[tuple[Example, Answer]]] = {}
        for row, answer in zip(self.examples, answers, strict=True):
            by_task.setdefault(row.task, []).append((row, answer))
        values = {name: _value(name, found) for name, found in by_task.items()}
        return Measured(
            step=step,
            accuracy=fmean(values.values()),
            tasks=values,
            malformed=fmean(answer.is_malformed for answer in answers),
            response_tokens=fmean(len(found.ids) for found in samples),
            rows=len(samples),
        )

    def _answers(self) -> list[Sample]:
        """Greedy responses to all rows; several processes deal them out."""
        prompts = [self.trunk.codec.prompt_ids(row) for row in self.examples]
        keys = [row_key("validation", row.task, row.id) for row in self.examples]
        drawn = sample(self.trunk, processes.share(prompts), processes.share(keys), self.sampling, POLICY)
        return processes.collect(drawn, len(prompts))

    def _adapter(self) -> dict[str, Tensor]:
        """A copy of the policy's weights, on the CPU."""
        return {name: weight.detach().cpu().clone() for name, weight in self.trunk.roles.state(POLICY).items()}

    def _write(self) -> None:
        if processes.is_main():
            write_jsonl(self.folder / VALIDATION_FILE, (asdict(each) for each in self.measures))


def _cadence(config: PPOConfig, steps: int) -> int | None:
    """Steps from one measure to the next, 0 for none; None follows the budget, whose steps nobody can count ahead."""
    if config.validate_every is not None:
        return config.validate_every
    return None if is_limited(config) else max(1, math.ceil(steps / MEASURES))


def _value(name: str, answered: Sequence[tuple[Example, Answer]]) -> float:
    task = tasks.get(name)
    gold = [row.label for row, _ in answered if row.label is not None]
    metric = "pearson" if task.is_numeric else "accuracy"
    return metrics.score_predictions(metric, gold, [answer.value for _, answer in answered], task)
