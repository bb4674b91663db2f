"""Which configuration and which stage a command, or a method of :class:`~rewardlab.lab.lab.Lab`, asks for.

Both build their stages here and nowhere else, so that what one of them made the other finds again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rewardlab.config import RunConfig
from rewardlab.lab.asked import Asked, known
from rewardlab.training.methods import methods
from rewardlab.types import PairKind

if TYPE_CHECKING:
    from rewardlab.pipeline import Pipeline, Stage
    from rewardlab.pipeline.imported import OwnPairs

Settings = Mapping[str, Any]
"""Dotted key -> value; None leaves it out."""
Choose = Callable[["Pipeline"], "Stage"]
"""Picks the stage that is wanted."""


class Goal(NamedTuple):
    """What is wanted.

    Attributes:
        config: The configuration.
        choose: Which of its stages.
        may_lack_reward: The configured reward is not asked: what was trained on it is only measured.
    """

    config: RunConfig
    choose: Choose
    may_lack_reward: bool = False


def annotate_goal(asked: Asked, own: Settings) -> Goal:
    """Rationales for the right and a wrong label of each labelled row."""
    return Goal(asked.config(own), lambda pipeline: pipeline.annotate())


def pairs_goal(asked: Asked, kind: PairKind, own: Settings, limit: int | None = None) -> Goal:
    """Preference pairs of one kind; of ``limit`` rows a task."""
    return Goal(asked.config({**own, **_pair_limits(kind, limit)}), lambda pipeline: pipeline.pairs(kind))


def sft_goal(asked: Asked, rationales: bool | None, own: Settings) -> Goal:
    """Supervised fine-tuning.

    Args:
        asked: What was given.
        rationales: Answer with a rationale first; None: as the answer format says. Without rationales the format is the
            bare label, unless one was named.
        own: The settings of this stage.
    """
    config = asked.config(own)
    asks_rationales = config.format == "rationale" if rationales is None else rationales
    if not asks_rationales and asked.given.get("format") is None and config.format == "rationale":
        config = asked.config({**own, "format": "label"})
    return Goal(config, lambda pipeline: pipeline.sft(asks_rationales))


def reward_model_goal(asked: Asked, kind: PairKind, own: Settings, limit: int | None = None) -> Goal:
    """A reward model of pairs of one kind, made of ``limit`` rows a task."""
    return Goal(asked.config({**own, **_pair_limits(kind, limit)}), lambda pipeline: pipeline.reward_model(kind))


def own_reward_model_goal(asked: Asked, path: Path, kind: PairKind | None, held_out: float, own: Settings) -> Goal:
    """A reward model of somebody's own pairs; their tasks and format are those of the run.

    Args:
        asked: What was given; its task says whose answers a file of preferences holds.
        path: Folder of pairs, or file of preferences.
        kind: As asked for, or None.
        held_out: Share of the prompts to hold out where none is.
        own: The settings of this stage.
    Raises:
        InputError: The pairs cannot be trained on.
    """
    pairs, found = _own_pairs(asked, path, kind, held_out, own)
    return Goal(asked.config({**own, **found}), lambda pipeline: pipeline.reward_model_of(pairs))


def import_goal(
    asked: Asked, file: Path, kind: PairKind, held_out: float, balance_length: bool
) -> tuple[RunConfig, Stage]:
    """Preference data of others as pairs, checked; the task, where one was given, reads its answers.

    Args:
        asked: What was given.
        file: Preferences: .jsonl, .json, .csv, .tsv or .parquet.
        kind: What the pairs are taken for.
        held_out: Share of the prompts to hold out.
        balance_length: Drop pairs until length does not tell which one is preferred.
    Raises:
        InputError: The file cannot be read, or a row of it is no preference.
    """
    from rewardlab.pairs.imported import ImportRequest, read_import
    from rewardlab.pipeline.imported import import_stage
    from rewardlab.tasks import resolve_task

    config = asked.config()
    task = resolve_task(config.task, "pairs import") if asked.given.get("task") else None
    wanted = ImportRequest(file, kind, config.format, task, held_out, balance_length, config.seed)
    return config, import_stage(read_import(wanted), config)


def training_goal(asked: Asked, method: str, own: Settings) -> Goal:
    """A policy, trained with a registered method; on somebody's own pairs it has their tasks and format."""
    config = asked.config(own)
    folder = getattr(methods.get(method).section(config), "own_pairs", None)
    if folder is not None and folder.is_dir():
        config = asked.config({**own, **_own_pairs(asked, folder, None, 0.0, own)[1]})
    return Goal(config, lambda pipeline: pipeline.train(method))


def _own_pairs(
    asked: Asked, path: Path, kind: PairKind | None, held_out: float, own: Settings
) -> tuple[OwnPairs, dict[str, Any]]:
    """Somebody's own pairs, and the settings that a run on them has from them."""
    from rewardlab.pipeline.imported import own_pairs
    from rewardlab.tasks import resolve_tasks
    from rewardlab.tasks.places import spec_of

    config = asked.config(own)
    tasks = resolve_tasks(config.task) if asked.values(own).get("task") else []
    pairs = own_pairs(path, config, kind=kind, held_out=held_out, asked=tasks)
    found: dict[str, Any] = {"format": pairs.format, "init": None if pairs.tasks else "base"}
    if not tasks:
        found["task"] = ",".join(map(spec_of, pairs.tasks)) or None
    return pairs, known(found)


def _pair_limits(kind: PairKind, limit: int | None) -> dict[str, Any]:
    """Label pairs need rationales for their own rows only; ranked ones come from the SFT model, whatever it saw."""
    return known({"pairs.limit": limit, "annotate.limit": limit if kind == "label" else None})
