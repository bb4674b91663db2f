"""Somebody's own pairs (``--pairs DIR``): which configuration and stage they ask for, and what came out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardlab.cli.options import Request
from rewardlab.cli.output import echo
from rewardlab.config import RunConfig
from rewardlab.types import PairKind

if TYPE_CHECKING:
    from rewardlab.pipeline import Pipeline, Stage
    from rewardlab.pipeline.imported import OwnPairs


def own_reward_model(
    request: Request, given: Mapping[str, Any], path: Path, kind: PairKind | None, held_out: float
) -> tuple[RunConfig, Callable[[Pipeline], Stage]]:
    """Configuration and goal of a reward model of own pairs; their tasks and format are those of the run.

    Args:
        request: Common options; ``--task`` says whose answers a file of preferences holds.
        given: The command's own settings.
        path: Folder of pairs, or file of preferences.
        kind: As asked for, or None.
        held_out: Share of the prompts to hold out where none is.
    Raises:
        InputError: The pairs cannot be trained on.
    """
    own, found = _of_run(request, request.config(given), path, kind, held_out)
    return request.config({**given, **found}), lambda pipeline: pipeline.reward_model_of(own)


def own_pairs_settings(request: Request, config: RunConfig, path: Path) -> dict[str, Any]:
    """Format, start and tasks of a run on somebody's own folder of pairs, as :func:`own_reward_model` takes them."""
    return _of_run(request, config, path, None, 0.0)[1] if path.is_dir() else {}


def _of_run(
    request: Request, config: RunConfig, path: Path, kind: PairKind | None, held_out: float
) -> tuple[OwnPairs, dict[str, Any]]:
    """The pairs, and the settings that a run on them has from them."""
    from rewardlab.pipeline.imported import own_pairs
    from rewardlab.tasks import resolve_tasks
    from rewardlab.tasks.places import spec_of

    asked = resolve_tasks(config.task) if request.given["task"] else []
    own = own_pairs(path, config, kind=kind, held_out=held_out, asked=asked)
    found: dict[str, Any] = {"format": own.format, "init": None if own.tasks else "base"}
    if not asked:
        found["task"] = ",".join(map(spec_of, own.tasks)) or None
    return own, found


def print_accuracies(accuracy: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
    """A line a set of pairs and task; says so when there was nothing to measure on."""
    for name, per_task in accuracy.items():
        for task, cell in per_task.items():
            known = ", ".join(f"{words} {_shown(cell[key])}" for key, words in BASELINES.items())
            interval = f"[{cell['low']:.3f}, {cell['high']:.3f}]"
            echo(f"  {name:<16} {task:<20} {cell['value']:.3f} {interval}  {known}")
    if not any(accuracy.values()):
        echo("  no pair is held out, so nothing is known of how well it ranks pairs it has not seen")


BASELINES = {"label_only": "label only", "length_only": "length only"}


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
