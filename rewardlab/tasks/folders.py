"""The rows of a folder by split, or of one file: what is read of it, and what is not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rewardlab.errors import DataError
from rewardlab.tasks.files import find_files, row_files
from rewardlab.tasks.rows import Reading, read_rows
from rewardlab.tasks.task import Task
from rewardlab.types import AnswerFormat


def read_place(place: Path, task: Task, format: AnswerFormat) -> Mapping[str, Reading]:
    """Rows by split name, from one file, a folder of files, or a folder that ``datasets`` saved.

    Raises:
        DataError: There are no training rows, two files are one split, or a row does not fit the task.
    """
    if place.is_file():
        return {"train": read_rows(place, task, format)}
    found = find_files(place, list(task.test_splits.values()))
    if "train" not in found.splits and (task.trainable or not found.splits):
        names = ", ".join(path.name for path in row_files(place))
        raise DataError(f"{place}: no train.jsonl, found {names}; name the file of the training rows train")
    readings = {
        split: _joined(split, [read_rows(path, task, format) for path in paths], place)
        for split, paths in found.splits.items()
    }
    first, *_ = readings
    return {**readings, first: replace(readings[first], notes=(*found.notes, *readings[first].notes))}


def _joined(split: str, readings: Sequence[Reading], place: Path) -> Reading:
    """The shards of one split as one."""
    examples = [example for reading in readings for example in reading.examples]
    twice = next((name for name, count in Counter(example.id for example in examples).items() if count > 1), None)
    if twice is not None:
        files = ", ".join(name for reading in readings for name in reading.files)
        raise DataError(f"{place}: id {twice!r} occurs twice in {files}; ids are unique in a split ({split})")
    notes = tuple(note for reading in readings for note in reading.notes)
    unused = tuple(column for reading in readings for column in reading.unused)
    return Reading(examples, notes, unused, {name: count for r in readings for name, count in r.files.items()})
