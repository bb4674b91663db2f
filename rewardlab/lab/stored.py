"""From a run folder on disk back to the stage that made it, for evaluation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from rewardlab.config import RunConfig
from rewardlab.config_loading import NO_FILE, load_config
from rewardlab.disk import read_json
from rewardlab.errors import ConfigError, DataError, InputError, RunFolderError
from rewardlab.lab.asked import RUNS, Asked
from rewardlab.lab.goals import Goal, Settings
from rewardlab.models.stored import stored_inputs
from rewardlab.runs import input_folder, stage_of
from rewardlab.sampler_config import SamplerConfig
from rewardlab.tasks.places import located

if TYPE_CHECKING:
    from rewardlab.pipeline import Stage

PAST = ("reward_code", "method_code", "as_long_as")
"""Settings of a stage that say what was then: code that may be gone or edited, and whose time SFT was given."""


def evaluation_goal(asked: Asked, run: Path | None, own: Settings) -> Goal:
    """Configuration and goal of an evaluation.

    Args:
        asked: What was given; its task may be another than the run was trained on.
        run: Folder of a finished run of sft or a training method; None evaluates the base model.
        own: The settings of this evaluation.
    Raises:
        RunFolderError: The folder is no finished run, or its inputs are not what they were.
    """
    if run is None:
        return Goal(asked.config(own), lambda pipeline: pipeline.eval(None))
    trained_config = stored_config(run)
    stage = trained_stage(run, trained_config, asked.root)
    trained_config = trained_config.model_copy(update={"sampler": SamplerConfig()})  # test rows are answered here
    given = asked.values(own)
    _refuse_other_model(given.get("model.name"), asked.file, run, trained_config)
    config = load_config(given, NO_FILE, stored=trained_config)
    return Goal(config, lambda pipeline: pipeline.eval(stage), may_lack_reward=True)


def choice_settings(best_of: int | None, reward: str | None, lam: str | None) -> dict[str, Any]:
    """The settings of an evaluation that takes, of ``best_of`` answers to each row, the one with the best reward.

    Raises:
        InputError: There is a reward or a lambda, but one answer a row.
    """
    if best_of is None and (reward or lam) is not None:
        raise InputError("--reward chooses among several answers; give --best-of N, such as --best-of 8, too")
    return {"eval.best_of": best_of, "eval.best_of_reward": reward, "eval.best_of_lam": lam}


def _refuse_other_model(model: str | None, file: Path | None, run: Path, trained: RunConfig) -> None:
    """An adapter belongs to its base model, and a run to its own configuration."""
    if model not in (None, trained.model.name):
        raise ConfigError(f"--model {model}: the run {run} was trained on {trained.model.name}; leave --model out")
    if file is not None:
        raise ConfigError(f"--config {file}: --run brings its own configuration; change it with --set")


def stored_config(run: Path, *, finished: bool = True) -> RunConfig:
    """The configuration a run folder was made with; raises RunFolderError when it is no (finished) run of ours."""
    if not (run / ("result.json" if finished else "config.json")).exists():
        state = "finished run" if finished else "run"
        raise RunFolderError(
            f"{run}: no {state}; expected a folder made by `rewardlab sft`, `rewardlab ppo` or another training method"
        )
    try:
        return RunConfig.model_validate(located(read_json(run / "config.json")["config"], run))
    except DataError as error:
        raise RunFolderError(f"{error}; the command that made {run} writes it anew when it is given again") from error
    except (KeyError, TypeError, AttributeError, ValidationError) as error:
        raise RunFolderError(f"{run}: config.json is of another version or program; run the training again") from error


def root_of(run: Path, asked: Path) -> Path:
    """The folder of runs that an evaluation reads and writes: that of its run, unless another is asked for.

    Args:
        run: The run.
        asked: ``--runs``.
    """
    home = run.absolute().parent.parent
    is_elsewhere = asked == RUNS and home.resolve() != asked.resolve() and run.absolute().parent.name == stage_of(run)
    return home if is_elsewhere else asked


def trained_stage(run: Path, config: RunConfig, root: Path) -> Stage:
    """The stage that made a finished run, whether or not the rewards that it was trained on are known here.

    Raises:
        RunFolderError: Its inputs are not what they were.
    """
    from rewardlab.pipeline import Pipeline
    from rewardlab.rewards.absent import lent_absent

    stored = read_json(run / "config.json")
    pipeline = Pipeline(config, root)
    try:
        kind, settings, fingerprint = stored["stage"], stored["identity"]["settings"], stored["fingerprint"]
    except (KeyError, TypeError) as error:
        raise RunFolderError(f"{run}: config.json is of another version or program; run the training again") from error
    with lent_absent(config.reward.expression):
        stage = pipeline.sft(settings["rationales"]) if kind == "sft" else pipeline.goal(kind)
    stage = _as_it_was(stage, run)
    if stage.fingerprint != fingerprint:
        raise RunFolderError(
            f"{run}: its data, base model or code version changed since it was made; run the training command again"
        )
    return stage.made_at(run)


def _as_it_was(stage: Stage, run: Path) -> Stage:
    """A stage and its inputs with what their folders say of code that may be gone or edited, and of times.

    Pairs of a model's own answers are an input whose reward's code counts too.
    """
    marks, inputs = stored_inputs(run), dict(stage.inputs)
    settings = read_json(run / "config.json")["identity"].get("settings", {})
    past = {name: settings[name] for name in PAST if name in settings}
    for name, each in stage.inputs.items():
        if (place := input_folder(run, marks.get(name, ""))) is not None:
            inputs[name] = _as_it_was(each, place)
    return replace(stage, settings={**stage.settings, **past}, inputs=inputs)
