"""Runs that are interrupted, and everything that a run leaves behind, to compare it with one that was not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from rewardlab.disk import read_jsonl
from rewardlab.types import Example

ROWS = 8
"""Responses of a step."""


class Cut(Exception):
    """The interruption."""


def letters(example: Example, response: str) -> float:
    return sum(character.isalpha() for character in response) - 0.5 * len(response)


def failing_in(step: int) -> Callable[[Example, str], float]:
    """The reward, raising in that step, counted from 0."""
    calls: list[int] = []

    def reward(example: Example, response: str) -> float:
        calls.append(1)
        if len(calls) > step * ROWS + 3:
            raise Cut
        return letters(example, response)

    return reward


def outcome(folder: Path) -> dict[str, Any]:
    """Everything a run leaves behind, times left out."""
    run = folder / "run"
    rows = [{k: v for k, v in row.items() if not k.startswith("time/")} for row in read_jsonl(run / "metrics.jsonl")]
    adapter = load_file(run / "adapter" / "adapter_model.safetensors")
    return {
        "metrics": rows,
        "samples": list(read_jsonl(run / "samples.jsonl")),
        "adapter": {name: tensor.numpy().tobytes() for name, tensor in adapter.items()},
    }


class WrittenChoices:
    """Stands in for the process's choices of libraries: has a state, and writes down what it is told to go on with."""

    def __init__(self) -> None:
        self.adopted: list[Mapping[str, Any] | None] = []

    def state(self) -> dict[str, Any]:
        return {"machine": "here", "libraries": {"1 rows": "torch"}}

    def adopt(self, state: Mapping[str, Any] | None) -> None:
        self.adopted.append(state)
