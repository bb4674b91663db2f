"""Stage ``annotate``: rationales for the right and a wrong label of each labelled row."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardlab.annotate.filter import filter_version
from rewardlab.config import RunConfig
from rewardlab.pipeline.context import Context
from rewardlab.pipeline.stage import JOURNALS, Stage, Work
from rewardlab.tasks.sources import Splits

if TYPE_CHECKING:
    from rewardlab.annotate.preview import Preview


def annotate_stage(context: Context) -> Stage:
    """The stage; stages that depend on rows and their seed alone share it."""
    config, journals = context.data_seeded(), context.root / JOURNALS
    return context.stage(
        "annotate",
        f"annotate {context.names} with {context.annotator.name} ({context.annotator.reason})",
        f"{context.slug}-{context.annotator.name}",
        {
            **context.data(*config.sft.parts, "validation"),
            **context.task_code("claim"),
            **context.annotator_settings("write"),
            "held_out": config.pairs.held_out,
            "limit": config.annotate.limit,
            "filter": [config.annotate.filter_threshold, filter_version()],
        },
        {},
        lambda job: annotate(job, config, context.splits, journals),
        lambda: preview_annotations(config, context.splits, journals),
    )


def annotate(job: Work, config: RunConfig, splits: Mapping[str, Splits], journals: Path) -> dict[str, Any]:
    """Do it."""
    from rewardlab.annotate.stage import run_annotate

    return run_annotate(job.folder, config, splits, journals, job.report, job.purse)


def preview_annotations(config: RunConfig, splits: Mapping[str, Splits], journals: Path) -> Preview | None:
    """What it will ask."""
    from rewardlab.annotate.preview import preview_rationales

    return preview_rationales(config, splits, journals)
