"""Single-task training beside multi-task training: one run a task; of PPO from the same models, on as many prompts.

All runs together are one row of a table: same method, same seed, a column each.
"""

from __future__ import annotations

from typing import Any

from rewardlab.config import PPOConfig, RunConfig
from rewardlab.pipeline.stages import Pipeline
from rewardlab.tasks import separate_tasks


def each_task(pipeline: Pipeline) -> list[Pipeline]:
    """A pipeline per task of ``pipeline``, with that task's share of steps and budget.

    SFT model and reward models stay those of all tasks, so that a row of single-task runs differs from one of
    multi-task training in PPO alone. A share is that of the task's rows, which is what multi-task PPO reads of it.
    """
    if len(pipeline.tasks) == 1:
        return [pipeline]
    config = pipeline.config
    counts = [sum(len(getattr(split, part)) for part in config.ppo.parts) for split in pipeline.splits.values()]
    shares = [count / (sum(counts) or 1) for count in counts]  # a plan may lack all rows
    configs = [_alone(config, task, share) for task, share in zip(separate_tasks(config.task), shares, strict=True)]
    return [Pipeline(one, pipeline.root, pipeline.rows) for one in configs]


def _alone(config: RunConfig, task: str, share: float) -> RunConfig:
    update = {"task": task, "start_task": config.start_task or config.task, "ppo": _part(config.ppo, share)}
    return config.model_copy(update=update)


def _part(section: PPOConfig, share: float) -> PPOConfig:
    """The section with a share of its steps, tokens and seconds; steps and tokens are whole, one at least."""
    whole = {name: getattr(section, name) for name in ("steps", "max_tokens")}
    update: dict[str, Any] = {name: max(1, round(share * amount)) for name, amount in whole.items() if amount}
    if section.max_seconds is not None:
        update["max_seconds"] = share * section.max_seconds
    return section.model_copy(update=update)
