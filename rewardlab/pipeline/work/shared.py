"""What several stages read: rows, the gold labels among them, the model that training starts from."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rewardlab import processes
from rewardlab.config import RunConfig
from rewardlab.evaluation.cost import gold_read
from rewardlab.runs import read_jsonl
from rewardlab.tasks.sources import Splits
from rewardlab.tasks.task import tasks
from rewardlab.types import Example

if TYPE_CHECKING:
    from rewardlab.models import Trunk

logger = logging.getLogger(__name__)

ADAPTER = "adapter"
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


def start_trunk(config: RunConfig, inputs: Mapping[str, Path]) -> Trunk:
    """The trunk with the SFT adapter merged, or the base model when there is no start."""
    from rewardlab.models import load_trunk

    return load_trunk(config.model, inputs["start"] / ADAPTER if "start" in inputs else None)


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
