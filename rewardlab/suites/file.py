"""What a suite file holds, and how it is read: methods, and the tasks, models and seeds they are run on."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from rewardlab.claims.claim import Claim
from rewardlab.comparison.conventions import Convention
from rewardlab.config import RunConfig
from rewardlab.config_loading import flattened
from rewardlab.errors import ConfigError, UnknownNameError
from rewardlab.pipeline.kinds import stage_kinds, trained_kinds
from rewardlab.reading import parse_toml, told
from rewardlab.section import Section
from rewardlab.tasks import separate_tasks
from rewardlab.training.methods import methods
from rewardlab.types import AnswerFormat, PairKind

PACKAGED = Path(__file__).resolve().parent
"""Where a wheel keeps ``experiments/*.toml``."""
CHECKOUT = PACKAGED.parents[1] / "experiments"
"""Where they lie beside the package, in a checkout."""


TAKEN = frozenset({*stage_kinds(), "annotations", "judge"})
"""Folders below RUNS that hold something else than a suite's report."""
BUDGETS = {"tokens": "max_tokens", "seconds": "max_seconds"}
"""Kind of budget -> the setting of ``[ppo]``, shared by all methods, that gives its amount."""
LISTED = {"seed": "seeds", "task": "tasks", "model.name": "models"}
"""Configuration key -> the list of a suite that gives every cell its own value of it."""


def _dotted(values: object) -> object:
    """A table of settings by dotted keys, however it is nested; anything else as it is.

    Raises:
        ValueError: A key stands in it twice.
    """
    if not isinstance(values, Mapping):
        return values
    found = [flattened({key: value}) for key, value in values.items()]
    twice = [key for key, count in Counter(key for part in found for key in part).items() if count > 1]
    if twice:
        raise ValueError(f"{', '.join(twice)} given twice, by its dotted key and in a table; keep one")
    return {key: value for part in found for key, value in part.items()}


Settings = Annotated[dict[str, Any], BeforeValidator(_dotted)]
"""Dotted configuration key -> value; a file may nest them."""
Values = Annotated[dict[str, tuple[Any, ...]], BeforeValidator(_dotted)]
"""Dotted configuration key -> the values tried; a file may nest them."""


class Method(Section):
    """One row of the table."""

    name: str | None = Field(None, description="what the table calls it; default by stage and reward")
    stage: str = Field(description="what is evaluated: base, sft, rm or a training method, such as ppo")
    rationales: bool = Field(True, description="sft: with rationales")
    kind: PairKind = Field("label", description="rm: what its pairs are made from")
    format: AnswerFormat | None = Field(None, description="answer format; default: that of the settings")
    scope: Literal["together", "each"] = Field(
        "together",
        description="one run on all tasks of a cell, or one a task, from the same SFT model; not for base and rm",
    )
    match_seconds_of: str | None = Field(None, description="sft: train for as long as this method took")
    settings: Settings = Field(default_factory=dict, description="dotted configuration keys of this method")
    grid: Values = Field(
        default_factory=dict,
        description="values tried for this method, in place of the suite's [grid]; not for base and rm",
    )

    @field_validator("stage")
    @classmethod
    def _is_a_stage(cls, value: str) -> str:
        known = ("base", "rm", *trained_kinds())
        if value not in known:
            raise ValueError(str(UnknownNameError("stage of a method", value, known)))
        return value

    @model_validator(mode="after")
    def _keys_fit_the_stage(self) -> Method:
        is_trained = self.stage in trained_kinds()
        if self.scope == "each" and (not is_trained or self.match_seconds_of is not None):
            timed = " with match_seconds_of" if self.match_seconds_of is not None else ""
            raise ValueError(f"scope belongs to methods that train a policy, found {self.stage}{timed}")
        if self.match_seconds_of is not None and self.stage != "sft":
            raise ValueError(f"match_seconds_of belongs to methods of stage sft, found {self.stage}")
        if self.grid and (not is_trained or self.match_seconds_of is not None):
            timed = " with match_seconds_of" if self.match_seconds_of is not None else ""
            raise ValueError(f"grid belongs to methods that train a policy, found {self.stage}{timed}")
        if self.format is not None and "format" in self.settings:
            raise ValueError("format stands beside settings and in them; keep one")
        return self


class Suite(Section):
    """What a suite file holds."""

    name: str = Field(description="names the report's folder")
    title: str = Field("", description="heading of the report")
    seeds: tuple[int, ...] = Field(
        (0,), min_length=1, description="seeds of rows (unless data.seed is set), training and sampling"
    )
    tasks: tuple[str, ...] = Field(
        (), description="values of task, each one task or several trained together; default: that of the settings"
    )
    models: tuple[str, ...] = Field((), description="values of model.name; default: that of the settings")
    budget: Literal["updates", "tokens", "seconds"] = Field(
        "updates", description="what rows of training methods are given the same number of"
    )
    convention: Convention = Field("rllr", description="which metrics the report's tables show, and what they average")
    settings: Settings = Field(default_factory=dict, description="dotted configuration keys of all methods")
    unseen: dict[str, str] = Field(
        default_factory=dict, description="task -> what models trained on it answer too without having seen it"
    )
    grid: Values = Field(
        default_factory=dict,
        description="dotted configuration key and the values tried for every method that trains a policy; none of sft",
    )
    grid_seeds: tuple[int, ...] = Field(
        (), description="seeds of the tries, none of seeds; default: the first of seeds"
    )
    only_grid: bool = Field(False, description="choose settings and evaluate nothing: no test row is answered")
    against: tuple[str, ...] = Field(
        (), description="methods that all others are compared with, item by item; default: SFT w. rationale"
    )
    method: tuple[Method, ...] = Field(min_length=1, description="the rows")
    claim: tuple[Claim, ...] = Field((), description="published claims that the rows say something of")

    def grid_of(self, method: Method) -> Mapping[str, tuple[Any, ...]]:
        """The values tried for a method: its own, or the suite's; empty for SFT and encoders."""
        is_shared = method.stage in methods and methods.get(method.stage).trains_policy
        return method.grid or (self.grid if is_shared else {})

    @property
    def tried_on(self) -> tuple[int, ...]:
        """The seeds of the tries."""
        return self.grid_seeds or self.seeds[:1]

    @model_validator(mode="after")
    def _names_fit(self) -> Suite:
        problems = [
            *_strange_name(self),
            *_repeated(self),
            *_overruled(self),
            *_unmatched(self),
            *_unseen_problems(self),
            *_grid_problems(self),
            *_budget_problems(self),
            *_unknown_methods(self),
        ]
        if problems:
            raise ValueError("; ".join(problems))
        return self


def load_suite(path: Path, source: str | None = None) -> Suite:
    """Read a suite file, and the one it ``extends``; raises ConfigError with all its problems.

    A file that is not there is looked for among the suites that come with the package, by its name.

    Args:
        path: The file.
        source: Where rows come from, whatever the file says.
    """
    try:
        suite = Suite.model_validate(_read(path))
    except ValidationError as error:
        found = told((_problem(item["loc"], item["msg"]) for item in error.errors()), error.error_count())
        raise ConfigError(f"{path}: {found}") from error
    settings = suite.settings if source is None else {**suite.settings, "data.source": source}
    return suite.model_copy(update={"settings": settings})


def _problem(place: tuple[int | str, ...], message: str) -> str:
    said = message.removeprefix("Value error, ")
    return f"{'.'.join(map(str, place))}: {said.lower() if said == message else said}".removeprefix(": ")


def _strange_name(suite: Suite) -> list[str]:
    """A report's folder stands beside those of the stages: it needs a name of its own that can name a folder."""
    name = suite.name
    if name in TAKEN:
        return [f"name: {name!r} is the folder of such runs; call the suite something else"]
    if name.strip(" .") and name.isprintable() and not set(name) & set("/\\"):
        return []
    return [f"name: {name!r} cannot name a folder of reports; leave out /, \\ and control characters"]


def _overruled(suite: Suite) -> list[str]:
    """What cells would not have, whatever is set, or what a grid would take from them."""
    listed = {key: name for key, name in LISTED.items() if key == "seed" or getattr(suite, name)}
    return [
        f"{place} sets {key}, but each cell has its own from {name}; give it there and nowhere else"
        for place, settings in [*settings_by_place(suite), *grids_by_place(suite)]
        for key, name in listed.items()
        if key in settings
    ]


def _repeated(suite: Suite) -> list[str]:
    listed = {
        "seeds": suite.seeds,
        "grid_seeds": suite.grid_seeds,
        "models": suite.models,
        "tasks": [name for entry in suite.tasks for name in separate_tasks(entry)],
        "method names": [method.name for method in suite.method if method.name is not None],
    }
    twice = {what: [value for value, n in Counter(values).items() if n > 1] for what, values in listed.items()}
    return [
        f"{what}: {', '.join(map(str, found))} more than once; a table needs each once"
        for what, found in twice.items()
        if found
    ]


def _unmatched(suite: Suite) -> list[str]:
    known = [method.name for method in suite.method if method.stage in methods and method.name is not None]
    asked = [method.match_seconds_of for method in suite.method if method.match_seconds_of is not None]
    return [
        f"match_seconds_of: {name!r} is no name of a training method of the suite; known: {', '.join(known) or 'none'}"
        for name in asked
        if name not in known
    ]


def _unseen_problems(suite: Suite) -> list[str]:
    """A row has one number a column: what is tested unseen is trained on by no cell and belongs to one task."""
    entries = suite.tasks or (str(suite.settings.get("task", RunConfig.model_fields["task"].default)),)
    trained = [name for entry in entries for name in separate_tasks(entry)]
    unseen = Counter(name for spec in suite.unseen.values() for name in separate_tasks(spec))
    strange = [f"unseen: {name!r} is no task of the suite" for name in suite.unseen if name not in trained]
    seen = [
        f"unseen: {name} is a task of the suite; name sets it does not train on" for name in unseen if name in trained
    ]
    twice = [f"unseen: {name} stands in it {n} times; a column has one model" for name, n in unseen.items() if n > 1]
    return [*strange, *seen, *twice]


def _grid_problems(suite: Suite) -> list[str]:
    """Methods must be tried equally often; settings that are reported must not be chosen on the seeds reported."""
    grids = {method.name or str(number): suite.grid_of(method) for number, method in enumerate(suite.method, 1)}
    everything = {**suite.grid, **{key: values for grid in grids.values() for key, values in grid.items()}}
    empty = [f"grid: {key} has no values" for key, values in everything.items() if not values]
    clashes = [
        f"grid: method {method.name or number} sets {key} itself; leave it to the grid, or take it out of [grid]"
        for number, method in enumerate(suite.method, 1)
        for key in suite.grid_of(method)
        if key in method.settings
    ]
    tries = {name: math.prod(map(len, grid.values())) for name, grid in grids.items() if grid}
    unequal = [f"grid: {', '.join(f'{name} has {n} tries' for name, n in tries.items())}; give every method as many"]
    untried = [
        f"only_grid: method {name} has no values to choose from; give it a grid or leave it out"
        for name, grid in grids.items()
        if suite.only_grid and not grid
    ]
    reported = set() if suite.only_grid else set(suite.grid_seeds) & set(suite.seeds)
    shared = [
        f"grid_seeds: {seed} is one of seeds; choose settings on seeds that are not reported" for seed in reported
    ]
    return [*empty, *clashes, *(unequal if len(set(tries.values())) > 1 else []), *untried, *shared]


def _budget_problems(suite: Suite) -> list[str]:
    """A budget in tokens or seconds has one amount, which no method changes; the other kind is not given."""
    wanted = f"ppo.{BUDGETS[suite.budget]}" if suite.budget in BUDGETS else None
    missing = [f"budget = {suite.budget!r} needs {wanted} in [settings]"] if _lacks(suite, wanted) else []
    stray = [
        f"{place} sets {key}, but budget = {suite.budget!r}; every row has the same budget, given in [settings]"
        for place, settings in [*settings_by_place(suite, of_methods=True), *grids_by_place(suite)]
        for key in settings
        if key.rpartition(".")[2] in BUDGETS.values()
        if place != "[settings]" or key != wanted
    ]
    return [*missing, *stray]


def _lacks(suite: Suite, key: str | None) -> bool:
    return key is not None and key not in suite.settings


def settings_by_place(suite: Suite, *, of_methods: bool = False) -> list[tuple[str, Mapping[str, Any]]]:
    """Where settings stand, and what stands there; of the training methods alone, or of all rows."""
    rows = [(f"method {m.name or number}", m) for number, m in enumerate(suite.method, 1)]
    own = [(place, method.settings) for place, method in rows if method.stage in methods or not of_methods]
    return [("[settings]", suite.settings), *own]


def grids_by_place(suite: Suite) -> list[tuple[str, Mapping[str, Any]]]:
    """Where values to try stand, and what stands there."""
    own = [(f"grid of method {m.name or number}", m.grid) for number, m in enumerate(suite.method, 1) if m.grid]
    return [("[grid]", suite.grid), *own]


def _unknown_methods(suite: Suite) -> list[str]:
    known = [method.name for method in suite.method if method.name is not None]
    named = [("against", name) for name in suite.against]
    named += [(f"claim {claim.id}", name) for claim in suite.claim for name in claim.methods]
    return [
        f"{place}: {UnknownNameError('name of a method', name, known)}" for place, name in named if name not in known
    ]


def _read(path: Path, behind: tuple[Path, ...] = ()) -> dict[str, Any]:
    places = (path, PACKAGED / path.name, CHECKOUT / path.name)
    found = next((place for place in places if place.exists()), path)
    try:
        values = parse_toml(found.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); give a suite file (TOML)") from error
    except ValueError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    base = values.pop("extends", None)
    if base is None:
        return values
    extended = found.parent / str(base)
    if extended.resolve() in (one.resolve() for one in (found, *behind)):
        raise ConfigError(f"{path}: extends itself, by way of {base}; name a suite that does not lead back here")
    try:
        return {**_left(_read(extended, (found, *behind)), values), **values}
    except ValueError as error:
        raise ConfigError(f"{extended}: settings: {error}") from error


def _left(base: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """What an extended suite says, less the one task or model in its settings that ``values`` list others for."""
    settings = _dotted(base.get("settings"))
    if not isinstance(settings, Mapping):
        return base
    return {**base, "settings": {key: value for key, value in settings.items() if not values.get(LISTED.get(key, ""))}}
