"""Stages of training methods that learn from their own best samples: ``raft``, plug-ins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewardlab.config import RunConfig
from rewardlab.pipeline.context import Context
from rewardlab.pipeline.stage import Stage, Work
from rewardlab.pipeline.stages.shared import rows_of, start_trunk, warn_of_long_labels
from rewardlab.pipeline.stages.train import gold_of_prompts, judges_of, online_stage
from rewardlab.tasks.sources import Splits
from rewardlab.training.methods import TrainingMethod


def raft_stage(context: Context, method: TrainingMethod) -> Stage:
    """Rounds of sampling, choosing by the configured reward and fine-tuning."""
    return online_stage(context, method, raft)


def raft(job: Work, method: TrainingMethod, config: RunConfig, splits: Mapping[str, Splits]) -> dict[str, Any]:
    """Do it."""
    from rewardlab.rewards import Ledger
    from rewardlab.training.progress import FolderRecorder, Several

    warn_of_long_labels(config, splits)
    section = method.section(config)
    trunk = start_trunk(config, job.inputs)
    prompts = [example for part in section.parts for example in rows_of(splits, part)]
    judges = judges_of(job, config, trunk, section.micro_batch, prompts)
    validation = rows_of(splits, "validation", section.validation_rows) if section.validation_rows else []
    trainer = method.load()(
        trunk,
        judges.reward,
        prompts,
        config,
        Several(FolderRecorder(job.folder), job.recorder),
        Ledger(job.folder.append),
        job.folder.path,
        lam=judges.reward.lam,
        validation=validation,
    )
    result = trainer.train()
    knows_all = judges.knows_all(section)
    gold = gold_of_prompts(splits, section, config.seed, result.steps, trainer.prompts, knows_all=knows_all)
    return {**result.to_json(), **judges.result(job, config, section, gold, result.fall)}
