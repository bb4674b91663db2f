"""The reward ``rubric`` in a stage: who grades, which requests an interrupted stage made, what a plan says of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardlab import processes
from rewardlab.annotate.grading import RubricReward, rubric_reward
from rewardlab.config import RunConfig
from rewardlab.disk import read_jsonl
from rewardlab.errors import ConfigError
from rewardlab.pipeline.context import Context
from rewardlab.pipeline.stage import JOURNALS, Work
from rewardlab.rewards.plan import plan_reward
from rewardlab.types import Example

if TYPE_CHECKING:
    from rewardlab.annotate.preview import Preview

GRADED_FILE = "graded.jsonl"
"""Keys of the requests that were made; each process of a run has a file of its own."""


def rubric_of(job: Work, config: RunConfig, rows: Sequence[Example]) -> RubricReward | None:
    """The rubric reward of a stage; None where its expression does not ask for it.

    Args:
        job, config: The stage. Requests are remembered in its folder, so that one that goes on knows what was paid.
        rows: What is answered.
    """
    if not plan_reward(config.reward).needs_rubric:
        return None
    folder = job.folder.path
    asked = [key for file in sorted(folder.glob(GRADED_FILE.replace(".", "*."))) for key in _keys(file)]
    own = folder / (GRADED_FILE if processes.is_main() else GRADED_FILE.replace(".", f"-{processes.rank()}."))

    def note(keys: list[str]) -> None:
        with own.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"keys": keys}) + "\n")

    return rubric_reward(config, sorted({row.task for row in rows}), job.journals, job.purse, asked, note)


def spent_on(rubric: RubricReward | None) -> dict[str, Any]:
    """What a stage's result says of the rubric; nothing where there is none."""
    return {} if rubric is None else rubric.spent()


def refuse_batches(context: Context, method: str) -> None:
    """Refuse batch endpoints for a method that needs the grades of a step before it takes the next.

    Raises:
        ConfigError: The line names the setting.
    """
    if context.reward.needs_rubric and context.config.annotate.batch:
        raise ConfigError(
            f"annotate.batch = {context.config.annotate.batch!r}: {method} needs the grades of each step at once, and "
            "a batch takes hours; annotate in batches first (`rewardlab annotate --batch`), then train without it"
        )


def preview_grades(
    context: Context, rows_of: Callable[[], Sequence[Example]], count_of: Callable[[int], int]
) -> Preview | None:
    """What a stage will ask, at most; None where nothing is graded, or the grader is free.

    Args:
        context: The stage's.
        rows_of: Rows that are answered.
        count_of: Of so many rows, responses that are graded.
    """
    from rewardlab.annotate import preview

    if not context.reward.needs_rubric:
        return None
    rows = rows_of()
    return preview.preview_grades(context.config, rows, count_of(len(rows)), context.root / JOURNALS)


def _keys(file: Path) -> list[str]:
    return [str(key) for row in read_jsonl(file, may_be_cut=True) for key in row["keys"]]
