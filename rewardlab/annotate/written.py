"""Rationales and rankings written for this project, for rows of the bundled samples; they travel with the package.

``annotations/TASK/rationales.jsonl`` has two lines a row, one for its gold label and one for a wrong label;
``annotations/TASK/rankings.jsonl`` has five answers to a row and their order. Who uses them stands in ``bundled.py``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from rewardlab.annotate.ranking import parse_ranking
from rewardlab.annotate.shipped import shipped
from rewardlab.disk import read_jsonl
from rewardlab.errors import DataError
from rewardlab.tasks.task import tasks
from rewardlab.types import Example, Label

RATIONALES = "rationales.jsonl"
RANKINGS = "rankings.jsonl"


@dataclass(frozen=True, slots=True)
class WrittenRanking:
    """Answers to one row and their order.

    Attributes:
        answers: Complete responses in the rationale format.
        places: Place of each answer, 1 the best; ties share a place.
    """

    answers: tuple[str, ...]
    places: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class WrittenRow:
    """What was written for one row.

    Attributes:
        gold: The row's label when it was written for.
        wrong: The other label that a rationale argues for.
        rationales: Label -> rationale.
        ranking: Five answers and their order, for some rows.
    """

    gold: Label
    wrong: Label
    rationales: Mapping[Label, str]
    ranking: WrittenRanking | None


def has_written(task: str) -> bool:
    """True when rationales were written for rows of that task."""
    return shipped(task, RATIONALES).is_file()


def written_row(example: Example) -> WrittenRow | None:
    """What was written for a row; None for rows of other data, and for rows whose label is another one now."""
    found = _written(example.task).get(example.id) if has_written(example.task) else None
    return found if found is not None and found.gold == example.label else None


def written_version() -> str:
    """Hash of everything that was written: what depends on it enters fingerprints by this."""
    digest = hashlib.sha256()
    for path in sorted([*shipped().glob(f"*/{RATIONALES}"), *shipped().glob(f"*/{RANKINGS}")]):
        digest.update(f"{path.parent.name}/{path.name}".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


@cache
def _written(task: str) -> dict[str, WrittenRow]:
    folder = shipped(task)
    rankings = {row["id"]: _ranking(row, task) for row in read_jsonl(folder / RANKINGS)}
    by_row: dict[str, list[dict[str, Any]]] = {}
    for row in read_jsonl(folder / RATIONALES):
        by_row.setdefault(row["id"], []).append(row)
    return {
        row_id: _row(rows, rankings.get(row_id), f"{folder / RATIONALES}, row {row_id}")
        for row_id, rows in by_row.items()
    }


def _row(rows: list[dict[str, Any]], ranking: WrittenRanking | None, where: str) -> WrittenRow:
    labels = {row["is_gold"]: row["label"] for row in rows}
    if len(rows) != 2 or set(labels) != {True, False}:
        raise DataError(f"{where}: {len(rows)} rationales, expected one with is_gold true and one with false")
    return WrittenRow(labels[True], labels[False], {row["label"]: row["rationale"] for row in rows}, ranking)


def _ranking(row: Mapping[str, Any], task: str) -> WrittenRanking:
    parsed = parse_ranking(row["ranking"], len(row["answers"]))
    if not parsed.places:
        raise DataError(f"annotations/{task}/{RANKINGS}, row {row['id']}: {parsed.reason}")
    return WrittenRanking(tuple(answer_text(task, answer) for answer in row["answers"]), parsed.places)


def answer_text(task: str, answer: Mapping[str, Any]) -> str:
    """The response that a rationale and a label make; a label of None leaves the rationale without an answer."""
    if answer["label"] is None:
        return str(answer["rationale"])
    return tasks.get(task).response(answer["label"], "rationale", answer["rationale"])
