"""What several stages read: rows, the gold labels among them, the model that training starts from."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rewardlab import processes
from rewardlab.config import RunConfig
from rewardlab.disk import read_json, read_jsonl
from rewardlab.errors import RunFolderError
from rewardlab.evaluation.cost import gold_read
from rewardlab.runs import ADAPTER, BEST_ADAPTER, make_anew, read_result
from rewardlab.tasks.sources import Splits
from rewardlab.tasks.task import tasks
from rewardlab.types import Example

if TYPE_CHECKING:
    from rewardlab.models import Trunk

logger = logging.getLogger(__name__)

TrainingPart = Literal["labelled", "prompts"]
Part = Literal["labelled", "prompts", "validation"]


def rows_of(splits: Mapping[str, Splits], part: Part, limit: int | None = None) -> list[Example]:
    """The rows of one part, of all tasks; ``limit`` of each at most."""
    return [example for split in splits.values() for example in getattr(split, part)[:limit]]


def gold_of(splits: Mapping[str, Splits], *parts: TrainingPart, limit: int | None = None) -> dict[str, int]:
    """The gold labels that a stage reads of these parts, as its result says."""
    return {pool: n for part in parts for pool, n in gold_read(part, rows_of(splits, part, limit)).items()}


def gold_rationales(folder: Path) -> dict[tuple[str, str], str]:
    """(task, id) -> the usable rationale for the gold label, of the rows that are trained on."""
    return {
        (row["task"], row["id"]): row["rationale"]
        for row in read_jsonl(folder / "rationales.jsonl")
        if row["split"] != "validation" and row["is_gold"] and row["outcome"] == "answered"
    }


@dataclass(frozen=True, slots=True)
class Policy:
    """One of the policies that a finished run of SFT or PPO has stored.

    Attributes:
        adapter: Its folder.
        checkpoint: ``best`` or ``last``; ``only`` where the last one had no rival.
        step: Steps taken before it.
        last_step: Steps of the whole run.
        accuracy: On validation rows, greedy, mean over tasks; None where it was not measured.
    """

    adapter: Path
    checkpoint: Literal["best", "last", "only"]
    step: int
    last_step: int
    accuracy: float | None

    def to_json(self) -> dict[str, Any]:
        """As an evaluation stores it."""
        return {name: getattr(self, name) for name in ("checkpoint", "step", "last_step", "accuracy")}


def policy_of(run: Path, checkpoint: Literal["best", "last"] = "best") -> Policy:
    """The policy asked for; the last one where no validation rows were measured and there is no best.

    Raises:
        RunFolderError: The run's result does not say which policies it has.
    """
    result = read_result(run)
    try:
        found, steps = result.get("validation"), int(result["steps"])
        if found is None:
            return Policy(run / ADAPTER, "only" if result.get("candidates") == 1 else "last", steps, steps, None)
        measured = found[checkpoint]
        folder = BEST_ADAPTER if checkpoint == "best" else ADAPTER
        return Policy(run / folder, checkpoint, int(measured["step"]), steps, float(measured["accuracy"]))
    except (KeyError, TypeError, ValueError) as error:
        raise RunFolderError(f"{run / 'result.json'}: does not name its policies; {make_anew(run)}") from error


def start_adapter(inputs: Mapping[str, Path]) -> Path | None:
    """The SFT adapter that PPO, reward models and samples start from, the best one; None is the base model."""
    return policy_of(inputs["start"]).adapter if "start" in inputs else None


def start_trunk(config: RunConfig, inputs: Mapping[str, Path]) -> Trunk:
    """The trunk with the SFT adapter merged, or the base model when there is no start."""
    from rewardlab.models import load_trunk

    return load_trunk(config.model, start_adapter(inputs))


def evaluated_model(config: RunConfig, inputs: Mapping[str, Path]) -> tuple[Trunk, str | None]:
    """The model that is evaluated, of the input ``model``, and the role it answers in; the base model without one."""
    from rewardlab.models import load_trunk
    from rewardlab.training.actor import POLICY

    if "model" not in inputs:
        return load_trunk(config.model), None
    if read_json(inputs["model"] / "config.json")["stage"] == "sft":
        return load_trunk(config.model, policy_of(inputs["model"], config.eval.checkpoint).adapter), None
    trunk = start_trunk(config, inputs)
    trunk.roles.load(POLICY, policy_of(inputs["model"], config.eval.checkpoint).adapter)
    return trunk, POLICY


def warn_of_long_labels(config: RunConfig, splits: Mapping[str, Splits]) -> None:
    """Warn, before anything is trained or asked, of labels that do not fit into ``model.max_new_tokens``."""
    from rewardlab.evaluation.budgets import long_labels
    from rewardlab.models.trunk import load_codec

    if not processes.is_main():
        return
    codec = load_codec(config.model)
    for name in splits:
        if found := long_labels(tasks.get(name), config.format, config.new_tokens, codec.response_ids):
            logger.warning("%s", found)
