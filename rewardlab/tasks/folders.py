"""The rows of a folder by split, or of one file: what is read of it, and what is not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rewardlab.errors import DataError
from rewardlab.tasks.checked import in_a_row
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
    rows = readings[0].rows if len(readings) == 1 else in_a_row([reading.rows for reading in readings])
    repeated = rows.outline.repeated_ids() if len(readings) > 1 else ()
    suspected = [number for number, mark in enumerate(rows.outline.ids) if mark in repeated] if repeated else []
    ids = Counter(example.id for example in rows.take(suspected).values())
    if (twice := next((name for name, count in ids.items() if count > 1), None)) is not None:
        files = ", ".join(name for reading in readings for name in reading.files)
        raise DataError(f"{place}: id {twice!r} occurs twice in {files}; ids are unique in a split ({split})")
    notes = tuple(note for reading in readings for note in reading.notes)
    unused = tuple(column for reading in readings for column in reading.unused)
    return Reading(rows, notes, unused, {name: count for r in readings for name, count in r.files.items()})
