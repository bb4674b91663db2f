"""Single-task training beside multi-task training: one run a task, from the same models, on as many prompts.

All runs together are one row of a table: same method, same seed, a column each.
"""

from __future__ import annotations

from typing import Any

from rewardlab.online_config import OnlineConfig
from rewardlab.pipeline.pipeline import Pipeline
from rewardlab.tasks import separate_tasks
from rewardlab.training.methods import methods


def each_task(pipeline: Pipeline, trained: str) -> list[Pipeline]:
    """A pipeline per task of ``pipeline``, with that task's share of the steps and budget of a stage kind.

    SFT model and reward models stay those of all tasks, so that a row of single-task runs differs from one of
    multi-task training in the training method alone. A share is that of the task's rows, which is what multi-task
    training reads of it.
    """
    if len(pipeline.tasks) == 1:
        return [pipeline]
    config = pipeline.config
    section = methods.get(trained).section(config) if trained in methods else None
    online = section if isinstance(section, OnlineConfig) else None
    parts = online.parts if online else ()
    counts = [sum(len(getattr(split, part)) for part in parts) for split in pipeline.splits.values()]
    shares = [count / (sum(counts) or 1) for count in counts]  # a plan may lack all rows
    configs = []
    for task, share in zip(separate_tasks(config.task), shares, strict=True):
        alone = config.model_copy(update={"task": task, "start_task": config.start_task or config.task})
        configs.append(alone.with_section(trained, _part(online, share)) if online else alone)
    return [Pipeline(one, pipeline.root, pipeline.rows) for one in configs]


def _part(section: OnlineConfig, share: float) -> OnlineConfig:
    """The section with a share of its steps, tokens and seconds; steps and tokens are whole, one at least."""
    whole = {name: getattr(section, name) for name in ("steps", "max_tokens")}
    update: dict[str, Any] = {name: max(1, round(share * amount)) for name, amount in whole.items() if amount}
    if section.max_seconds is not None:
        update["max_seconds"] = share * section.max_seconds
    return section.model_copy(update=update)
