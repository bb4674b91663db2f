"""The cells of a suite: methods x tasks x models x seeds, and the stages that each of them needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

from rewardlab.config import RunConfig
from rewardlab.config_loading import NO_FILE, load_config
from rewardlab.errors import ConfigError
from rewardlab.pipeline.pipeline import Pipeline, check, check_goal, is_encoder
from rewardlab.pipeline.rows import Rows
from rewardlab.pipeline.scope import each_task
from rewardlab.pipeline.stage import Stage
from rewardlab.pipeline.stages.encoder import has_labels_of, trained_task
from rewardlab.rewards.plan import plan_reward
from rewardlab.suites.file import Method, Suite
from rewardlab.suites.grid import Try, Values, choose, combinations
from rewardlab.tasks import resolve_task, resolve_tasks, separate_tasks
from rewardlab.tasks.task import CodePart
from rewardlab.training.methods import methods


@dataclass(frozen=True, slots=True)
class Cell:
    """One method on one entry of the tasks, with one model, under one seed.

    Attributes:
        method: What the table calls it.
        task: Value of ``task``: one task, or several trained together.
        model: Value of ``model.name``.
        seed: Of rows (unless ``data.seed`` is set), training and sampling.
        goals: What must be finished: evaluations, the report card of a method of stage rm, or, while ``again`` is
            there, the tries that choose its settings.
        stage: base, sft, rm or a training method.
        tries: What its settings are chosen from; empty without a grid.
        chosen: The values that won; empty while they are not known.
        again: Makes the cell anew when its goals are finished and only choose its settings; None when they do more.
    """

    method: str
    task: str
    model: str
    seed: int
    goals: tuple[Stage, ...]
    stage: str
    tries: tuple[Try, ...] = ()
    chosen: Values = field(default_factory=dict)
    again: Callable[[], Cell] | None = None

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

    def searched(self) -> list[Stage]:
        """The stages that chose its settings, and all they need."""
        return distinct(stage for each in self.tries for goal in each.stages for stage in goal.chain())

    def evaluations(self, root: Path) -> list[Path]:
        """Folders of its evaluations, in the order of its goals."""
        return [goal.folder(root).path for goal in self.goals if goal.kind == "eval"]


@dataclass(frozen=True, slots=True)
class _Trained:
    """A trained stage (None is the base model) and the pipeline that made it."""

    pipeline: Pipeline
    stage: Stage | None


def cells(suite: Suite, root: Path, *, may_lack_model: bool = False, rows: Rows | None = None) -> list[Cell]:
    """All cells, methods inside seeds inside models inside tasks; bad input is found before anything runs.

    Args:
        suite: The methods and where they are run.
        root: Where run folders live.
        may_lack_model: For a plan that is only shown: models may be ones that cannot be had here.
        rows: Where rows are remembered; those of a plan that is only shown may lack some.
    Raises:
        ConfigError: A setting is not valid, two methods have the same name, or a model cannot know a task.
    """
    matrix = _Matrix(suite, root, may_lack_model, rows or Rows())
    seeds = suite.tried_on[:1] if suite.only_grid else suite.seeds
    found = [matrix.cell(method, place, seed) for place in _places(suite) for seed in seeds for method in suite.method]
    for goal in (goal for cell in found for goal in cell.goals):
        check_goal(goal)
    titles = Counter(cell.title for cell in found)
    if twice := [title for title, count in titles.items() if count > 1]:
        raise ConfigError(f"suite {suite.name}: {twice[0]}: {titles[twice[0]]} cells; give methods names that differ")
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


def _answerable(encoder: Stage, spec: str) -> str:
    """Of tasks that it was not trained on, those that have the labels of an encoder."""
    known = trained_task(encoder)
    return ",".join(name for name in separate_tasks(spec) if has_labels_of(known, resolve_task(name, "encoder")))


def _places(suite: Suite) -> list[dict[str, Any]]:
    """Task and model of each block of cells, as configuration keys; a suite that lists none leaves them alone."""
    tasks: list[dict[str, Any]] = [{"task": task} for task in suite.tasks] or [{}]
    models: list[dict[str, Any]] = [{"model.name": model} for model in suite.models] or [{}]
    return [{**task, **model} for task in tasks for model in models]


def _check_code(config: RunConfig) -> None:
    """Refuse code without a hash: a suite is planned several times, by its workers too, and must find its runs again.

    Raises:
        ConfigError: The line says what has none.
    """
    unknown = {f"reward {name}": why for name, why in plan_reward(config.reward).unknown_code.items()}
    for task in resolve_tasks(config.task):
        unknown |= {
            f"{part} of task {task.name}": why for part, why in task.code_hashes(*get_args(CodePart))[1].items()
        }
    for owner, why in unknown.items():
        raise ConfigError(
            f"{owner}: {why}, so that a suite could not find its runs again; give what a module makes when it is "
            "imported, as module:name"
        )


class _Matrix:
    """Makes cells; remembers the tries, which all seeds share."""

    def __init__(self, suite: Suite, root: Path, may_lack_model: bool, rows: Rows) -> None:
        self._suite, self._root, self._rows = suite, root, rows
        self._may_lack_model = may_lack_model
        self._tries: dict[str, tuple[Try, ...]] = {}

    def cell(self, method: Method, place: Mapping[str, Any], seed: int) -> Cell:
        """The cell as far as it can be known now."""
        searched = method if self._suite.grid_of(method) else self._rival(method)
        if searched is None or not self._suite.grid_of(searched):
            return self._settled(method, place, seed, {})
        tries = self._tries_of(searched, place)
        chosen = choose(tries, self._root)
        if self._suite.only_grid:
            return self._tried(method, place, tries, chosen)
        known = self._settled(method, place, seed, tries[0].values if chosen is None else chosen)
        own_tries = tries if searched is method else ()
        if chosen is not None:
            return replace(known, tries=own_tries, chosen=chosen if own_tries else known.chosen)
        goals = tuple(stage for each in tries for stage in each.stages)
        return replace(known, tries=own_tries, goals=goals, again=lambda: self.cell(method, place, seed))

    def _tried(self, method: Method, place: Mapping[str, Any], tries: tuple[Try, ...], chosen: Values | None) -> Cell:
        """A cell of a suite that evaluates nothing: it is finished when its tries are, and they alone are its goals."""
        seed = self._suite.tried_on[0]
        goals = tuple(stage for each in tries for stage in each.stages)
        name = method.name or Pipeline(RunConfig.model_validate(goals[0].config), self._root, self._rows).method(
            goals[0].inputs["model"]
        )
        config = RunConfig.model_validate(goals[0].config)
        again = None if chosen is not None else lambda: self.cell(method, place, seed)
        return Cell(name, config.task, config.model.name, seed, goals, method.stage, tries, chosen or {}, again)

    def _settled(self, method: Method, place: Mapping[str, Any], seed: int, values: Values) -> Cell:
        config = self._config(method, {**place, "seed": seed}, values if self._suite.grid_of(method) else {})
        name, goals = self._goals(method, config, values)
        return Cell(name, config.task, config.model.name, seed, goals, method.stage)

    def _goals(self, method: Method, config: RunConfig, values: Values) -> tuple[str, tuple[Stage, ...]]:
        """What the table calls the method under this configuration, and what its cell needs."""
        if method.stage == "rm":
            name = method.name or f"{method.kind} RM"
            return name, (Pipeline(config, self._root, self._rows).card(method.kind, name),)
        trained = self._trained(method, config, values)
        name = method.name or trained[0].pipeline.method(trained[0].stage)
        return name, tuple(goal for each in trained for goal in self._evaluations(each, name))

    def _evaluations(self, trained: _Trained, name: str) -> list[Stage]:
        """On the tasks it was trained on, and on those of ``unseen``, for which there are no solved examples."""
        own = trained.pipeline
        beside = [self._suite.unseen[task.name] for task in own.tasks if task.name in self._suite.unseen]
        if trained.stage is not None and is_encoder(trained.stage):
            beside = [spec for spec in map(partial(_answerable, trained.stage), beside) if spec]
        asked = [own]
        if beside and own.config.eval.shots == 0:
            config = own.config.model_copy(update={"task": ",".join(beside)})
            asked.append(Pipeline(config, self._root, self._rows))
        return [pipeline.eval(trained.stage, name) for pipeline in asked]

    def _tries_of(self, method: Method, place: Mapping[str, Any]) -> tuple[Try, ...]:
        """The tries of a method in one place, made on the seeds of the grid."""
        key = repr((self._suite.method.index(method), place))
        if key not in self._tries:
            self._tries[key] = tuple(
                Try(
                    values,
                    tuple(
                        stage
                        for seed in self._suite.tried_on
                        for stage in self._measured(method, self._config(method, {**place, "seed": seed}, values))
                    ),
                )
                for values in combinations(self._suite.grid_of(method))
            )
        return self._tries[key]

    def _measured(self, method: Method, config: RunConfig) -> tuple[Stage, ...]:
        runs = self._trained(method, config, {})
        return tuple(each.pipeline.validate(each.stage) for each in runs if each.stage is not None)

    def _trained(self, method: Method, config: RunConfig, values: Values) -> list[_Trained]:
        """What a method trains here; ``values`` are the grid's, for the rival that SFT is timed by."""
        if method.stage in methods:
            return self._runs(method, config)
        if method.stage == "base":
            return [_Trained(Pipeline(config, self._root, self._rows), None)]
        rivals = self._timed_by(method, config, values)
        return [_Trained(part, part.sft(method.rationales, rivals)) for part in self._parts(method, config)]

    def _runs(self, method: Method, config: RunConfig) -> list[_Trained]:
        return [_Trained(part, part.train(method.stage)) for part in self._parts(method, config)]

    def _parts(self, method: Method, config: RunConfig) -> list[Pipeline]:
        """One pipeline of all tasks, or one a task."""
        pipeline = Pipeline(config, self._root, self._rows)
        return each_task(pipeline, method.stage) if method.scope == "each" else [pipeline]

    def _timed_by(self, method: Method, config: RunConfig, values: Values) -> list[Stage]:
        """Runs of the method whose time SFT is given, on the same tasks and model, under the same seed."""
        rival = self._rival(method)
        if rival is None:
            return []
        place = {"task": config.task, "model.name": config.model.name, "seed": config.seed}
        runs = self._runs(rival, self._config(rival, place, values))
        return [each.stage for each in runs if each.stage is not None]

    def _rival(self, method: Method) -> Method | None:
        wanted = method.match_seconds_of
        return next((other for other in self._suite.method if wanted is not None and other.name == wanted), None)

    def _config(self, method: Method, place: Mapping[str, Any], values: Values) -> RunConfig:
        own = {} if method.format is None else {"format": method.format}
        config = load_config({**self._suite.settings, **method.settings, **own, **place, **values}, NO_FILE)
        check(config, may_lack_model=self._may_lack_model)
        _check_code(config)
        return config
