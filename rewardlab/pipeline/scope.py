"""Single-task training beside multi-task training: one run a task, from the same models, on as many prompts.

All runs together are one row of a table: same method, same seed, a column each.
"""

from __future__ import annotations

from typing import Any

from rewardlab.pipeline.pipeline import Pipeline
from rewardlab.section import Section
from rewardlab.tasks import separate_tasks
from rewardlab.training.methods import methods

SECONDS = "max_seconds"
AMOUNTS = ("steps", "max_tokens", SECONDS, "prompts")
"""Settings of training methods that say how much they do; single-task runs have a share of each."""


def each_task(pipeline: Pipeline, trained: str) -> list[Pipeline]:
    """A pipeline per task of ``pipeline``, with that task's share of the steps and budget of a stage kind.

    SFT model and reward models stay those of all tasks, so that a row of single-task runs differs from one of
    multi-task training in the training method alone. A share is that of the task's rows, which is what multi-task
    training reads of it.
    """
    if len(pipeline.tasks) == 1:
        return [pipeline]
    config = pipeline.config
    section: Section | None = methods.get(trained).section(config) if trained in methods else None
    parts = getattr(section, "parts", ())
    counts = [sum(len(getattr(split, part)) for part in parts) for split in pipeline.splits.values()]
    shares = [count / (sum(counts) or 1) for count in counts]  # a plan may lack all rows
    configs = []
    for task, share in zip(separate_tasks(config.task), shares, strict=True):
        alone = config.model_copy(update={"task": task, "start_task": config.start_task or config.task})
        configs.append(alone.with_section(trained, _part(section, share)) if section and parts else alone)
    return [Pipeline(one, pipeline.root, pipeline.rows) for one in configs]


def _part(section: Section, share: float) -> Section:
    """The section with a share of its amounts; those that are counted are whole, one at least."""
    amounts = {name: getattr(section, name) for name in AMOUNTS if name in type(section).model_fields}
    update: dict[str, Any] = {name: max(1, round(share * amount)) for name, amount in amounts.items() if amount}
    if amounts.get(SECONDS):
        update[SECONDS] = share * amounts[SECONDS]
    return section.model_copy(update=update)
