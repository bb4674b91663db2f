"""What a policy is worth on validation rows while it trains, and the best one by that measure; for every method.

Answers are greedy, so nothing is drawn and training goes on as if nothing had been measured. Gold labels of
validation rows choose among checkpoints; no update sees them. One rule for every method: the most accurate measure
wins, of equals the earliest. What is measured before the first step (the start) is a candidate too.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from rewardlab import metrics, processes
from rewardlab.disk import read_json, write_json, write_jsonl
from rewardlab.models.sampler import Sample, SamplingConfig, row_key, sample
from rewardlab.models.trunk import Trunk
from rewardlab.online_config import OnlineConfig
from rewardlab.runs import BEST_ADAPTER
from rewardlab.tasks.task import parse_response, tasks
from rewardlab.training.actor import POLICY
from rewardlab.training.decline import Change, Fall, level_of, raises_alarm, told_fall
from rewardlab.training.schedule import UNBOUNDED, is_limited
from rewardlab.types import Answer, Example

logger = logging.getLogger(__name__)

VALIDATION_FILE = "validation.jsonl"
STORED_MEASURES, STORED_BEST = "validation.json", "validation-best.safetensors"
"""Files in a checkpoint of SFT."""
MEASURES = 5
"""Measures in a run, beside the one before its first step, when ``ppo.validate_every`` is not given."""


@dataclass(frozen=True, slots=True)
class Cadence:
    """When a run is measured.

    Attributes:
        every: Steps from one measure to the next, 0 for none; None measures after each fifth of the run.
        steps: Most steps of the whole run, which a budget may end before.
    """

    every: int | None
    steps: int

    @classmethod
    def of_steps(cls, config: OnlineConfig, steps: int) -> Cadence:
        """As configured, or five a run; under a budget they follow it, since its steps cannot be counted ahead."""
        if config.validate_every is not None or is_limited(config):
            return cls(config.validate_every, steps)
        return cls(max(1, math.ceil(steps / MEASURES)), steps)

    @classmethod
    def of_sft(cls, steps: int, steps_per_epoch: int, patience: int | None = None) -> Cadence:
        """After each epoch, or after so many that there are five measures at most; by fifths where time ends it.

        Where ``patience`` may end it, after each epoch however many there are.
        """
        if steps == UNBOUNDED:
            return cls(None, steps)
        epochs = 1 if patience else math.ceil(steps / steps_per_epoch / MEASURES)
        return cls(max(1, epochs) * steps_per_epoch, steps)

    @property
    def looks(self) -> int | None:
        """How many measures there will be after the first step, at most; None where that is unknown."""
        if self.every is None:
            return MEASURES
        return None if self.steps == UNBOUNDED else math.ceil(self.steps / max(1, self.every))

    def is_due(self, step: int, before: float = 0.0, spent: float = 0.0) -> bool:
        """Whether the policy is measured after that many steps; arguments as of :meth:`Validation.is_due`."""
        if self.every is None:
            return self._fifths(step, spent) > self._fifths(step - 1, before)
        return self.every > 0 and (step % self.every == 0 or step == self.steps)

    def _fifths(self, step: int, spent: float) -> int:
        """How many of the run's equal parts are over, by its budget or by its most steps, whichever is further."""
        return math.floor(MEASURES * max(spent, step / self.steps))


@dataclass(frozen=True, slots=True)
class Measured:
    """One measure; one line of ``validation.jsonl``.

    Attributes:
        step: Training steps taken before it.
        accuracy: Mean over tasks.
        tasks: Task -> share of right answers; Pearson correlation where answers are numbers.
        malformed: Share of responses without an answer.
        response_tokens: Mean length.
        rows: Responses.
        worse, better: Rows whose answer is worse or better than before the first step; 0 where that was not measured.
    """

    step: int
    accuracy: float
    tasks: Mapping[str, float]
    malformed: float
    response_tokens: float
    rows: int
    worse: int = 0
    better: int = 0


def is_settled(measures: Sequence[Measured], best: Measured | None, patience: int | None) -> bool:
    """Whether so many measures after the best one were none above it, so that training ends; None: never."""
    return patience is not None and best is not None and sum(each.step > best.step for each in measures) >= patience


def warn_of_idle(patience: int | None, *, is_measured: bool) -> None:
    """Say that a patience ends nothing where nothing is measured."""
    if patience is not None and not is_measured and processes.is_main():
        logger.warning("patience = %d ends nothing: no validation rows are measured while it trains", patience)


class Validation:
    """Measures the policy every so often, and remembers the best one.

    Args:
        trunk: Carries the role.
        examples: Rows; those without a gold label are left out, and without any nothing is measured.
        cadence: When.
        sampling: Of the rollouts; only its temperature is not used.
        folder: The run folder.
        role: What is trained.
        patience: Measures after the best one that end training; None: none do.

    Attributes:
        measures: All so far.
        best: The best of them.
        fall: The first measure at which accuracy had fallen significantly below the start.
    """

    def __init__(
        self,
        trunk: Trunk,
        examples: Sequence[Example],
        cadence: Cadence,
        sampling: SamplingConfig,
        folder: Path,
        role: str = POLICY,
        patience: int | None = None,
    ) -> None:
        self.trunk, self.folder, self.role, self.cadence, self.patience = trunk, folder, role, cadence, patience
        self.examples = [row for row in examples if row.label is not None]
        self.sampling = replace(sampling, temperature=0.0)
        self.measures: list[Measured] = []
        self.best: Measured | None = None
        self.fall: Fall | None = None
        self._start: list[float] = []
        self._best_adapter: dict[str, Tensor] = {}
        warn_of_idle(patience, is_measured=self.is_on)

    @property
    def is_on(self) -> bool:
        """Whether anything is measured at all."""
        return bool(self.examples) and self.cadence.every != 0

    @property
    def is_settled(self) -> bool:
        """Whether accuracy has not risen for so long that training ends."""
        return is_settled(self.measures, self.best, self.patience)

    def is_due(self, step: int, before: float = 0.0, spent: float = 0.0) -> bool:
        """Whether the policy is measured after that many steps.

        Args:
            step: Steps taken.
            before, spent: Share of the run's budget that was spent before the last of them, and is now.
        """
        return self.is_on and self.cadence.is_due(step, before, spent)

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
        return {
            "validation/accuracy": found.accuracy,
            "validation/malformed": found.malformed,
            **(self._against_start(found) if self._start else {}),
        }

    def _against_start(self, found: Measured) -> dict[str, float]:
        """Raise the alarm where accuracy has fallen significantly, once a run; the metrics that say so."""
        look, change = len(self.measures) - 1, Change(found.worse, found.better)
        before = self.measures[0].accuracy
        if look > 0 and self.fall is None and raises_alarm(change, look, self.cadence.looks):
            level = level_of(look, self.cadence.looks)
            counts = (change.worse, change.better, found.rows, change.p_value, level)
            self.fall = Fall(found.step, look, before, found.accuracy, *counts)
            logger.warning("%s", told_fall(self.fall))
        return {"validation/change": found.accuracy - before, "validation/fall_alarm": float(self.fall is not None)}

    def save_best(self) -> None:
        """Store the best policy in ``adapter-best/``; the policy in memory stays the last one."""
        if self.best is None:
            return
        last = self._adapter()
        self.trunk.roles.restore(self.role, self._best_adapter)
        self.trunk.roles.save(self.role, self.folder / BEST_ADAPTER)
        self.trunk.roles.restore(self.role, last)

    def summary(self) -> dict[str, Any] | None:
        """Start, best and last measure for ``result.json``; None when nothing was measured.

        The start is left out where it was not measured.
        """
        if self.best is None:
            return None
        start = {"start": self.measures[0]} if self.measures[0].step == 0 else {}
        measures = {**start, "best": self.best, "last": self.measures[-1]}
        return {name: asdict(found) for name, found in measures.items()}

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        best, fall = (None if found is None else asdict(found) for found in (self.best, self.fall))
        return {
            "measures": [asdict(each) for each in self.measures],
            "best": best,
            "fall": fall,
            "start": self._start,
            "adapter": self._best_adapter,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state`; measures of steps that will be repeated are dropped from the file."""
        self.measures = [Measured(**each) for each in state["measures"]]
        self.best = None if state["best"] is None else Measured(**state["best"])
        self.fall = None if state["fall"] is None else Fall(**state["fall"])
        self._start = list(state["start"])
        self._best_adapter = dict(state["adapter"])
        self._write()

    def _measure(self, step: int) -> Measured:
        samples = self._answers()
        answers = [parse_response(row, found.text) for row, found in zip(self.examples, samples, strict=True)]
        by_task: dict[str, list[tuple[Example, Answer]]] = {}
        for row, answer in zip(self.examples, answers, strict=True):
            by_task.setdefault(row.task, []).append((row, answer))
        values = {name: _value(name, found) for name, found in by_task.items()}
        right = [_closeness(row, answer) for row, answer in zip(self.examples, answers, strict=True)]
        if step == 0:
            self._start = right
        change = Change.between(self._start, right) if self._start else Change(0, 0)
        return Measured(
            step=step,
            accuracy=fmean(values.values()),
            tasks=values,
            malformed=fmean(answer.is_malformed for answer in answers),
            response_tokens=fmean(len(found.ids) for found in samples),
            rows=len(samples),
            worse=change.worse,
            better=change.better,
        )

    def _answers(self) -> list[Sample]:
        """Greedy responses to all rows; several processes deal them out."""
        prompts = [self.trunk.codec.prompt_ids(row) for row in self.examples]
        keys = [row_key("validation", row.task, row.id) for row in self.examples]
        drawn = sample(self.trunk, processes.share(prompts), processes.share(keys), self.sampling, self.role)
        return processes.collect(drawn, len(prompts))

    def _adapter(self) -> dict[str, Tensor]:
        """A copy of the policy's weights, on the CPU."""
        return {name: weight.detach().cpu().clone() for name, weight in self.trunk.roles.state(self.role).items()}

    def store(self, folder: Path) -> None:
        """Put :meth:`state` into a checkpoint that is a folder; nothing where nothing was measured."""
        state = self.state()
        adapter = {name: weight.contiguous() for name, weight in state.pop("adapter").items()}
        if self.measures and processes.is_main():
            save_file(adapter, folder / STORED_BEST)
            write_json(folder / STORED_MEASURES, state)

    def reload(self, folder: Path) -> None:
        """Go on from what :meth:`store` put there."""
        if (folder / STORED_MEASURES).exists():
            self.restore({**read_json(folder / STORED_MEASURES), "adapter": load_file(folder / STORED_BEST)})

    def _write(self) -> None:
        if processes.is_main():
            write_jsonl(self.folder / VALIDATION_FILE, (asdict(each) for each in self.measures))


def _value(name: str, answered: Sequence[tuple[Example, Answer]]) -> float:
    task = tasks.get(name)
    gold = [row.label for row, _ in answered if row.label is not None]
    metric = "pearson" if task.is_numeric else "sample_f1" if task.multi_label else "accuracy"
    return metrics.score_predictions(metric, gold, [answer.value for _, answer in answered], task)


def _closeness(row: Example, answer: Answer) -> float:
    """Higher is better: 1 or 0 for a label, minus the distance to a gold number; unread counts the whole scale."""
    task = tasks.get(row.task)
    if not task.is_numeric or row.label is None or task.numeric_range is None:
        return float(row.label is not None and task.is_right(answer.value, row.label))
    low, high = task.numeric_range
    return -(high - low) if answer.value is None else -abs(float(answer.value) - float(row.label))
