"""Where the rows of a task come from: a local folder, the hub, the bundled sample, or a generator.

``load_splits`` is the only entry. How rows are checked stands in ``rows.py``, how they are divided in
``division.py``, the hub in ``hub.py``.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args

from rewardlab.errors import DataError
from rewardlab.tasks.division import Limits, Parts, divide
from rewardlab.tasks.files import READERS, row_files, saved_splits
from rewardlab.tasks.folders import read_place
from rewardlab.tasks.hub import load_hub
from rewardlab.tasks.rows import Reading, RowsMissing, SourceMissing, read_rows, some
from rewardlab.tasks.task import Generator, Task, with_format
from rewardlab.types import AnswerFormat, Example

logger = logging.getLogger(__name__)

DATA_VARIABLE = "REWARDLAB_DATA"
"""Environment variable with the folder that has a folder per task."""

SourceKind = Literal["auto", "local", "hub", "bundled"]
OriginKind = Literal["local", "hub", "bundled", "generated", "missing"]
Stored = Literal["local", "hub", "bundled"]
PartName = Literal["labelled", "prompts", "validation", "tests"]
Files = Mapping[str, Reading]
"""Split name -> its rows."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where rows came from.

    Attributes:
        kind: local, hub, bundled, generated, or missing in a plan that is shown without them.
        location: Folder, data set id, file, or generator.
        sha256: Of the rows that were chosen (ids, texts, labels, part), for fingerprints.
        note: Why the sources that are tried first were not used; empty when the first one served.
        notes: What was ignored, left out or chosen on the way, a sentence each.
        files: File -> rows read from it.
    """

    kind: OriginKind
    location: str
    sha256: str
    note: str = ""
    notes: list[str] = field(default_factory=list)
    files: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Splits:
    """The rows of one task, disjoint by text.

    Attributes:
        labelled: Rows for SFT and pairs, which read their labels.
        prompts: Rows for PPO; only a reward that needs gold reads their labels.
        validation: Rows for choosing settings and for held-out pairs.
        tests: Column name -> test rows.
        origin: Where they came from.
    """

    labelled: list[Example]
    prompts: list[Example]
    validation: list[Example]
    tests: dict[str, list[Example]]
    origin: Origin

    @classmethod
    def missing(cls, why: str) -> Splits:
        """No rows at all, for a plan that is only shown."""
        return cls([], [], [], {}, Origin("missing", "", "", why))

    def sha256(self, *parts: PartName) -> str:
        """SHA-256 of the rows of these parts: what a stage depends on that reads them and no others."""
        return _content_hash(Parts(self.labelled, self.prompts, self.validation, self.tests), parts)


def load_splits(
    task: Task,
    *,
    source: SourceKind = "auto",
    data_dir: Path | None = None,
    format: AnswerFormat = "rationale",
    labelled: int = 5000,
    prompts: int = 5000,
    validation: int = 500,
    test: int = 1000,
    seed: int = 0,
    test_seed: int = 0,
) -> Splits:
    """Load and divide the rows of a task.

    Args:
        task: A generated task makes its rows, whatever ``source`` says.
        source: ``auto`` tries local folder, hub and bundled sample in this order; the others are tried alone.
        data_dir: Folder with a folder per task, or the task's own folder; None reads ``$REWARDLAB_DATA``.
        format: Answer format the examples are asked in.
        labelled, prompts, validation, test: Most rows of each part; labelled rows are a third of train at most.
        seed: Of labelled rows and prompts, and of their order.
        test_seed: Of validation and test rows. Runs of different seeds are tested on the same rows, so that their
            answers pair item by item.
    Raises:
        RowsMissing: No source has the task; the message says why each has not.
        DataError: A row does not fit the task.
    """
    limits = Limits(labelled, prompts, validation, test)
    if task.generate is not None:
        return _generated(task, limits, seed, test_seed, format)
    kind, location, readings, note = _find(task, source, data_dir, format)
    logger.info("%s: rows from %s (%s)%s", task.name, location, kind, f"; {note}" if note else "")
    counted = {file: count for reading in readings.values() for file, count in reading.files.items()}
    try:
        rows = {split: reading.rows for split, reading in readings.items()}
        parts = divide(task, rows, limits, seed, test_seed)
    except DataError as error:
        read = ", ".join(f"{file}: {count} rows" for file, count in counted.items())
        raise DataError(f"{location} ({read}): {error}") from error
    notes = [*(note for reading in readings.values() for note in reading.notes), *parts.left_out]
    for line in notes:
        logger.warning("%s: %s", task.name, line)
    notes += parts.cuts
    if unused := sorted({column for reading in readings.values() for column in reading.unused}):
        notes.append(f"columns that the task does not use: {some(unused)}")
    return _as_splits(parts, Origin(kind, location, _content_hash(parts), note, notes, counted))


def bundled_file(task: Task) -> Path:
    """Where the bundled sample of a task lies, whether or not it exists."""
    return Path(__file__).parent / "bundled" / f"{task.name}.jsonl"


def _find(
    task: Task, source: SourceKind, data_dir: Path | None, format: AnswerFormat
) -> tuple[OriginKind, str, Files, str]:
    """The first source that has the task: kind, location, rows by file, and why earlier ones have not."""
    reasons: list[str] = []
    kinds: tuple[Stored, ...] = ("local", "hub", "bundled") if source == "auto" else (source,)
    for kind in kinds:
        try:
            location, files = _load(kind, task, data_dir, format)
            return kind, location, files, "; ".join(reasons)
        except SourceMissing as missing:
            reasons.append(f"{kind}: {missing}")
    bundled = "take --source bundled, " if bundled_file(task).is_file() else ""
    raise RowsMissing(
        f"no rows for task {task.name} ({'; '.join(reasons)}). Give --data DIR, set {DATA_VARIABLE}, "
        f"{bundled}or connect"
    )


def _load(kind: Stored, task: Task, data_dir: Path | None, format: AnswerFormat) -> tuple[str, Files]:
    if kind == "hub":
        return task.hub.path if task.hub else "", load_hub(task, format)
    if kind == "bundled":
        path = bundled_file(task)
        if not path.is_file():
            raise SourceMissing("no sample comes with rewardlab")
        return f"rewardlab/tasks/bundled/{path.name}", {"train": read_rows(path, task, format)}
    place = _local_folder(task, data_dir)
    return str(place), read_place(place, task, format)


def _local_folder(task: Task, data_dir: Path | None) -> Path:
    """The folder, or the one file, with the rows of the task; a place that was named must exist."""
    base = data_dir or (Path(found) if (found := os.environ.get(DATA_VARIABLE)) else task.data)
    if base is None:
        raise SourceMissing(f"no --data and no {DATA_VARIABLE}")
    if not base.is_dir() and not (base.is_file() and base in (data_dir, task.data)):
        named = "--data" if data_dir else DATA_VARIABLE if found else f"data of task {task.name}"
        raise DataError(f"{named} {base}: no such folder; expected one with a folder {task.name}")
    own = [base / task.name, *([base] if base in (data_dir, task.data) else []), *([task.data] if task.data else [])]
    folder = next((place for place in own if place.is_file() or _has_rows(place)), None)
    if folder is None and data_dir:
        raise DataError(f"--data {base}: {_no_rows(own)}; add train.jsonl or train.csv there")
    if folder is None:
        raise SourceMissing(_no_rows(own))
    return folder


def _no_rows(places: Sequence[Path]) -> str:
    """Where no rows were found, and what lies there in their place."""
    place = next((each for each in reversed(places) if each.is_dir()), places[0])
    others = sorted(path.name for path in place.iterdir() if path.is_file()) if place.is_dir() else []
    known = ", ".join(sorted(READERS))
    return f"no files of rows in {place} (found {some(others) or 'nothing'}; rows are read from {known})"


def _has_rows(folder: Path) -> bool:
    return folder.is_dir() and (saved_splits(folder) is not None or bool(row_files(folder)))


def _generated(task: Task, limits: Limits, seed: int, test_seed: int, format: AnswerFormat) -> Splits:
    assert task.generate is not None
    train = with_format(_rows(task.generate, "train", limits.labelled + limits.prompts, seed), format)
    parts = Parts(
        labelled=train[: limits.labelled],
        prompts=train[limits.labelled :],
        validation=with_format(_rows(task.generate, "validation", limits.validation, test_seed), format),
        tests={task.name: with_format(_rows(task.generate, "test", limits.test, test_seed), format)},
    )
    return _as_splits(parts, Origin("generated", f"generator of {task.name}, seed {seed}", _content_hash(parts)))


@lru_cache(maxsize=64)
def _rows(generate: Generator, split: str, n: int, seed: int) -> tuple[Example, ...]:
    """Generated rows, made once: a suite plans dozens of runs over the same ones."""
    return tuple(generate(split, n, seed))


def _as_splits(parts: Parts, origin: Origin) -> Splits:
    return Splits(parts.labelled, parts.prompts, parts.validation, parts.tests, origin)


def _content_hash(parts: Parts, wanted: Sequence[PartName] = get_args(PartName)) -> str:
    """SHA-256 over part, id, texts and label of every row of the parts, in their order."""
    digest = hashlib.sha256()
    named: dict[str, list[Example]] = {name: getattr(parts, name) for name in wanted if name != "tests"}
    if "tests" in wanted:
        named |= {f"test {column}": rows for column, rows in parts.tests.items()}
    for part, rows in named.items():
        for example in rows:
            row = [part, example.id, dict(sorted(example.fields.items())), example.label]
            digest.update(json.dumps(row, ensure_ascii=True).encode() + b"\n")
    return digest.hexdigest()
