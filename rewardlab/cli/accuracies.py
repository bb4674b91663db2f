"""The accuracies of a reward model, as ``rewardlab rm train`` prints them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewardlab.cli.output import echo


def print_accuracies(accuracy: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
    """A line a set of pairs and task; says so when there was nothing to measure on."""
    for name, per_task in accuracy.items():
        for task, cell in per_task.items():
            known = ", ".join(f"{words} {_shown(cell[key])}" for key, words in BASELINES.items())
            interval = f"[{cell['low']:.3f}, {cell['high']:.3f}]"
            echo(f"  {name:<16} {task:<20} {cell['value']:.3f} {interval}  {known}")
    if not any(accuracy.values()):
        echo("  no pair is held out, so its accuracy on unseen pairs is not known")


BASELINES = {"label_only": "label only", "length_only": "length only"}


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
