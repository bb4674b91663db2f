"""Answers sampled from the SFT model, kept on disk as they come."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from rewardlab.annotate.base import Progress, silent
from rewardlab.disk import read_jsonl
from rewardlab.runs import RunFolder
from rewardlab.types import Example

logger = logging.getLogger(__name__)

SAMPLED_FILE = "sampled.jsonl"
CHUNK = 64
"""Rows sampled between two writes."""

SampleAnswers = Callable[[Sequence[Example], int], list[list[str]]]
"""(rows, answers a row) -> the sampled responses of each row."""


def sampled_answers(
    folder: RunFolder, examples: Sequence[Example], count: int, sample: SampleAnswers, progress: Progress = silent
) -> list[list[str]]:
    """``count`` answers to each row; rows that an interrupted run has sampled are read, not sampled again.

    Args:
        folder: Its ``sampled.jsonl`` keeps the answers.
        examples: Rows of any tasks.
        count: Answers a row.
        sample: Draws answers from the SFT model.
        progress: Told how many rows are done.
    """
    known = read_sampled(folder.path / SAMPLED_FILE)
    missing = [example for example in examples if (example.task, example.id) not in known]
    for start in range(0, len(missing), CHUNK):
        progress("sampled rows", len(examples) - len(missing) + start, len(examples))
        chunk = missing[start : start + CHUNK]
        for example, responses in zip(chunk, sample(chunk, count), strict=True):
            folder.append(SAMPLED_FILE, {"task": example.task, "id": example.id, "responses": responses})
            known[example.task, example.id] = list(responses)
    progress("sampled rows", len(examples), len(examples))
    return [known[example.task, example.id] for example in examples]


def read_sampled(path: Path) -> dict[tuple[str, str], list[str]]:
    """(task, id) -> the answers in a file of :func:`sampled_answers`; a last line that a crash tore is cut off."""
    if not path.exists():
        return {}
    text = path.read_bytes()
    whole = text.rfind(b"\n") + 1
    if whole < len(text):
        logger.warning("%s: cut off a line that was not finished", path)
        path.write_bytes(text[:whole])
    return {(row["task"], row["id"]): row["responses"] for row in read_jsonl(path)}
