"""What the stages ``annotate`` and ``sft`` do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardlab.config import RunConfig
from rewardlab.pipeline.stage import Work
from rewardlab.pipeline.work.shared import gold_of, gold_rationales, rows_of, warn_of_long_labels
from rewardlab.tasks.sources import Splits

if TYPE_CHECKING:
    from rewardlab.annotate.preview import Preview


def annotate(job: Work, config: RunConfig, splits: Mapping[str, Splits], journals: Path) -> dict[str, Any]:
    """Stage ``annotate``."""
    from rewardlab.annotate.stage import run_annotate

    return run_annotate(job.folder, config, splits, journals, job.report, job.purse)


def preview_rationales(config: RunConfig, splits: Mapping[str, Splits], journals: Path) -> Preview | None:
    """What stage ``annotate`` will ask."""
    from rewardlab.annotate.preview import preview_rationales

    return preview_rationales(config, splits, journals)


def sft(job: Work, config: RunConfig, splits: Mapping[str, Splits]) -> dict[str, Any]:
    """Stage ``sft``."""
    from rewardlab.training.sft import train_sft

    warn_of_long_labels(config, splits)
    rationales = gold_rationales(job.inputs["annotate"]) if "annotate" in job.inputs else None
    rows = [example for part in config.sft.parts for example in rows_of(splits, part)]
    validation = rows_of(splits, "validation", config.sft.validation_rows)
    result = train_sft(job.folder, config, rows, rationales, job.recorder, validation=validation)
    return {**result, "gold": gold_of(splits, *config.sft.parts)}
