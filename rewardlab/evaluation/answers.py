"""Answers without their texts: the small file beside ``predictions.jsonl`` that comparisons read.

A thousand evaluations hold a million responses; what tables and tests need of them is an id, a gold label, an answer,
whether it ended by itself, and the quality of its rationale. ``predictions.jsonl`` stays the record, and folders
without this file are read from it. Reports that travel bring this file along, so that anybody can recompute them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardlab.disk import read_json, read_jsonl, write_atomic
from rewardlab.evaluation.predict import Prediction
from rewardlab.runs import check_outputs
from rewardlab.types import Label

ANSWERS_FILE = "answers.json"
PREDICTIONS_FILE = "predictions.jsonl"
FIELDS = ("ids", "gold", "answers", "finished", "quality", "confidence", "groups")
SPARSE = ("quality", "confidence", "groups")
"""Those that a cell lacks where no answer has any."""
"""What ``answers.json`` holds of each cell."""


@dataclass(frozen=True, slots=True)
class Answers:
    """One column under one decoding; one entry a test item, a malformed answer is None.

    ``finished`` is False where the answer was cut at its budget; ``quality`` is None where the task does not know the
    quality of its rationale, ``confidence`` where the answer states none, ``groups`` where rows stand alone. All are
    None in folders of versions that did not store them here.
    """

    ids: tuple[str, ...]
    gold: tuple[Label, ...]
    answers: tuple[Label | None, ...]
    finished: tuple[bool, ...] | None = None
    quality: tuple[float | None, ...] | None = None
    confidence: tuple[float | None, ...] | None = None
    groups: tuple[str, ...] | None = None


def write_answers(folder: Path, predictions: Iterable[Prediction]) -> None:
    """Write ``answers.json``: column -> decoding -> what :data:`FIELDS` names; each cell sorted by id.

    A cell without any quality, or any confidence, has none.
    """
    cells: dict[str, dict[str, dict[str, list[Any]]]] = {}
    for row in sorted(predictions, key=lambda row: row.id):
        cell = cells.setdefault(row.column, {}).setdefault(row.decoding, {name: [] for name in FIELDS})
        for name, value in zip(
            FIELDS,
            (row.id, row.gold, row.answer, row.finished, row.quality, row.confidence, row.group),
            strict=True,
        ):
            cell[name].append(value)
    for cell in (cell for decodings in cells.values() for cell in decodings.values()):
        for name in SPARSE:
            if all(value is None for value in cell[name]):
                del cell[name]
    write_atomic(folder / ANSWERS_FILE, json.dumps(cells, ensure_ascii=False) + "\n")


def read_answers(folder: Path) -> dict[tuple[str, str], Answers]:
    """(column, decoding) -> answers of an evaluation folder, sorted by id.

    Raises:
        DataError: Neither file can be read.
        KeyError, TypeError, ValueError, AttributeError: A file does not hold what it should.
    """
    stored = folder / ANSWERS_FILE
    found = _compact(read_json(stored)) if stored.exists() else _collected(read_predictions(folder))
    return dict(found)


def read_predictions(folder: Path) -> Iterator[dict[str, Any]]:
    """The lines of an evaluation's predictions.

    Raises:
        RunFolderError: They are not what the evaluation wrote.
        DataError: They cannot be read.
    """
    if (folder / "result.json").exists():
        check_outputs(folder, [PREDICTIONS_FILE])
    yield from read_jsonl(folder / PREDICTIONS_FILE)


def differing_gold(items: Iterable[tuple[str, Label | None, Label | None]]) -> str:
    """How two sources disagree about gold labels, the first item named; "" where they do not.

    Args:
        items: Name of each test item, and its gold label in either source.
    """
    differing = [name for name, left, right in items if left != right]
    return f"{len(differing)} gold labels differ, such as {differing[0]}" if differing else ""


def _compact(stored: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Iterator[tuple[tuple[str, str], Answers]]:
    for column, decodings in stored.items():
        for decoding, cell in decodings.items():
            there = {name: tuple(cell[name]) for name in FIELDS if name in cell}
            if len({len(values) for values in there.values()}) != 1:
                raise ValueError(f"{ANSWERS_FILE}: {column} {decoding}: columns of unequal length")
            if set(map(type, cell["ids"])) - {str}:
                raise ValueError(f"{ANSWERS_FILE}: {column} {decoding}: an id is no text")
            told = (there.get("finished"), *(there.get(name) for name in SPARSE))
            yield (column, decoding), Answers(there["ids"], there["gold"], there["answers"], *told)


def _collected(rows: Iterable[Mapping[str, Any]]) -> Iterator[tuple[tuple[str, str], Answers]]:
    cells: dict[tuple[str, str], list[tuple[Any, ...]]] = {}
    for row in rows:
        entry = (
            str(row["id"]),
            row["gold"],
            row["answer"],
            row.get("finished", True),
            row.get("quality"),
            row.get("confidence"),
            row.get("group"),
        )
        cells.setdefault((row["column"], row["decoding"]), []).append(entry)
    for position, entries in cells.items():
        ids, gold, answers, finished, *sparse = zip(*sorted(entries, key=lambda entry: entry[0]), strict=True)
        told = [None if set(values) == {None} else values for values in sparse]
        yield position, Answers(ids, gold, answers, finished, *told)
