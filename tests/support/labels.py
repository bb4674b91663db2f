"""Tasks made of nothing but labels, for tests of how answers are read."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any

from rewardlab.tasks.task import Task
from rewardlab.types import ANSWER_FORMATS, Label

_NUMBER = count(1)


def labelled(*labels: str, **more: Any) -> Task:
    """A task with these labels; ``more`` are further fields of a task."""
    templates = dict.fromkeys(ANSWER_FORMATS, "{text}")
    return Task(f"labelled-{next(_NUMBER)}", ("text",), templates, labels=labels, **more)


def readings(task: Task, texts: Sequence[str]) -> list[Label | None]:
    """What is read in each text, in the bare format."""
    return [task.parse(text, "label").value for text in texts]
