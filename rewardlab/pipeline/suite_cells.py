"""The cells of a suite: methods x tasks x models x seeds, and the stages that each of them wants finished."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardlab.config import RunConfig, load_config
from rewardlab.errors import ConfigError
from rewardlab.pipeline.stage import Stage
from rewardlab.pipeline.stages import Pipeline, check
from rewardlab.pipeline.suite_file import Method, Suite


@dataclass(frozen=True, slots=True)
class Cell:
    """One method on one entry of the tasks, with one model, under one seed.

    Attributes:
        method: What the table calls it.
        task: Value of ``task``: one task, or several trained together.
        model: Value of ``model.name``.
        seed: Of training and sampling.
        goals: What must be finished: evaluations, or the reward model of a method of stage rm.
        stage: base, sft, rm or ppo.
    """

    method: str
    task: str
    model: str
    seed: int
    goals: tuple[Stage, ...]
    stage: str

    @property
    def title(self) -> str:
        """What messages call it."""
        return f"{self.method}, {self.task}, {self.model}, seed {self.seed}"

    @property
    def config(self) -> RunConfig:
        """The configuration behind it."""
        return RunConfig.model_validate(self.goals[0].config)

    def chain(self) -> list[Stage]:
        """Its goals and all they need, each once, inputs first."""
        return distinct(stage for goal in self.goals for stage in goal.chain())

    def evaluations(self, root: Path) -> list[Path]:
        """Folders of its evaluations, in the order of its goals."""
        return [goal.folder(root).path for goal in self.goals if goal.kind == "eval"]


def cells(suite: Suite, root: Path) -> list[Cell]:
    """All cells, methods inside seeds inside models inside tasks; bad input is found before anything runs.

    Raises:
        ConfigError: A setting is not valid, or two methods have the same name.
    """
    found = [
        _cell(suite, method, {**place, "seed": seed}, root)
        for place in _places(suite)
        for seed in suite.seeds
        for method in suite.method
    ]
    titles = Counter(cell.title for cell in found)
    if twice := [title for title, count in titles.items() if count > 1]:
        raise ConfigError(
            f"suite {suite.name}: {twice[0]} is {titles[twice[0]]} cells; give its methods names that differ"
        )
    return found


def distinct(stages: Iterable[Stage]) -> list[Stage]:
    """Each stage once, in order of appearance."""
    found: dict[str, Stage] = {}
    for stage in stages:
        found.setdefault(stage.fingerprint, stage)
    return list(found.values())


def stages_of(todo: Sequence[Cell], kind: str) -> list[Stage]:
    """The distinct stages of one kind behind the cells."""
    return [stage for stage in distinct(stage for cell in todo for stage in cell.chain()) if stage.kind == kind]


def _places(suite: Suite) -> list[dict[str, Any]]:
    """Task and model of each block of cells, as configuration keys; a suite that lists none leaves them alone."""
    tasks: list[dict[str, Any]] = [{"task": task} for task in suite.tasks] or [{}]
    models: list[dict[str, Any]] = [{"model.name": model} for model in suite.models] or [{}]
    return [{**task, **model} for task in tasks for model in models]


def _cell(suite: Suite, method: Method, place: Mapping[str, Any], root: Path) -> Cell:
    own = {} if method.format is None else {"format": method.format}
    config = load_config({**suite.settings, **method.settings, **own, **place})
    check(config)
    pipeline = Pipeline(config, root)
    name, goals = _goals(pipeline, method)
    return Cell(name, config.task, config.model.name, config.seed, goals, method.stage)


def _goals(pipeline: Pipeline, method: Method) -> tuple[str, tuple[Stage, ...]]:
    """What the table calls the method under this configuration, and what its cell wants finished."""
    if method.stage == "rm":
        return method.name or f"{method.kind} RM", (pipeline.reward_model(method.kind),)
    trained = _trained(pipeline, method)
    name = method.name or pipeline.method(trained)
    return name, (pipeline.eval(trained, name),)


def _trained(pipeline: Pipeline, method: Method) -> Stage | None:
    if method.stage == "base":
        return None
    return pipeline.ppo() if method.stage == "ppo" else pipeline.sft(method.rationales)
