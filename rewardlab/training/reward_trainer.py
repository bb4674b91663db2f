"""TRL's RewardTrainer over a role of a trunk; imported when one is trained, for TRL takes seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from datasets import Dataset
from torch import nn
from trl import RewardConfig as TRLConfig
from trl import RewardTrainer
from trl.trainer.reward_trainer import DataCollatorForPreference

from rewardlab.config import RunConfig
from rewardlab.models import Trunk
from rewardlab.training.progress import Recorder
from rewardlab.training.trl_checkpoint import RoleTrainer
from rewardlab.training.trl_loop import run_trainer
from rewardlab.training.trl_run import Outcome, Plan, one_device, trl_settings


def run_reward_trainer(
    trunk: Trunk,
    role: str,
    model: nn.Module,
    rows: Sequence[Mapping[str, Sequence[int]]],
    config: RunConfig,
    plan: Plan,
    stage: str,
    recorder: Recorder,
    names: Mapping[str, str],
    folder: Path,
) -> Outcome:
    """Train ``model``, which reads through the trunk as ``role``; goes on where a run was interrupted.

    Args:
        trunk: Carries the role.
        role: What is trained and stored.
        model: Token rows to raw scores, as TRL calls it.
        rows: The columns ``chosen_ids`` and ``rejected_ids``, which TRL takes as they are.
        config: Its section ``rm``, and the seed.
        plan: Steps.
        stage: Name for the progress bar.
        recorder: Where metrics go.
        names: TRL's metric name -> ours.
        folder: Of checkpoints.
    """
    settings = trl_settings(config.rm, plan, config.seed, trunk.device)
    trainer = _Trainer(
        trunk,
        role,
        model=model,
        args=one_device(TRLConfig(output_dir=str(folder), **settings)),
        train_dataset=Dataset.from_list(list(rows)),
        data_collator=DataCollatorForPreference(pad_token_id=trunk.codec.pad_id),
        processing_class=trunk.codec.tokenizer,
    )
    return run_trainer(
        trainer, stage, plan.steps, recorder, names, config.keep_checkpoints, config.rm.checkpoint_seconds
    )


class _Trainer(RoleTrainer, RewardTrainer):  # type: ignore[misc]  # trl is untyped here
    """TRL's trainer with checkpoints of the role alone."""
