"""What was written for the bundled rows (``annotations/TASK``): complete, grounded in its row, right and wrong alike.

Read with the standard library, so that a fault in the data and one in the loader show in different tests.
"""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from rewardlab.annotate.base import Annotation
from rewardlab.annotate.filter import checked
from rewardlab.annotate.written import written_row
from rewardlab.tasks import tasks
from rewardlab.types import Example

ROOT = Path(__file__).parents[2]
TASKS = ("mr", "agnews", "appreviews", "mrpc", "qqp", "mnli", "sst2", "stsb")
MIN_ROWS = 24
MIN_RANKINGS = 10
NEAR_DUPLICATE = 0.6
"""Share of common word triples from which two texts count as one."""
every_task = pytest.mark.parametrize("task", TASKS)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def rationales(task: str) -> list[dict[str, Any]]:
    return read(ROOT / "annotations" / task / "rationales.jsonl")


def rankings(task: str) -> list[dict[str, Any]]:
    return read(ROOT / "annotations" / task / "rankings.jsonl")


def rows(task: str) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in read(ROOT / "rewardlab" / "tasks" / "bundled" / f"{task}.jsonl")}


def texts_of(row: dict[str, Any]) -> str:
    return " \n ".join(str(value) for key, value in row.items() if key not in ("id", "label")).casefold()


def triples(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.casefold())
    return set(zip(words, words[1:], words[2:], strict=False))


@every_task
def test_there_are_enough_rows_with_a_right_and_a_wrong_rationale(task: str) -> None:
    written, known = rationales(task), rows(task)
    by_row: dict[str, dict[bool, Any]] = {}
    for line in written:
        assert set(line) == {"id", "label", "is_gold", "rationale"}
        by_row.setdefault(line["id"], {})[line["is_gold"]] = line["label"]
    assert len(by_row) >= MIN_ROWS
    assert len(written) == 2 * len(by_row)
    for row_id, labels in by_row.items():
        assert labels[True] == known[row_id]["label"] != labels[False], row_id


@pytest.mark.parametrize("task", ["mr", "agnews", "appreviews", "mrpc", "qqp", "mnli", "sst2"])
def test_wrong_labels_are_labels_of_the_task(task: str) -> None:
    assert {line["label"] for line in rationales(task)} == set(tasks.get(task).labels)


@pytest.mark.parametrize("task", ["stsb", "appreviews"])
def test_wrong_numbers_cannot_be_told_by_the_number(task: str) -> None:
    """Guessing that the higher, or the lower, number is gold is right in at most two pairs of three."""
    gold = [float(line["label"]) for line in rationales(task) if line["is_gold"]]
    wrong = [float(line["label"]) for line in rationales(task) if not line["is_gold"]]
    higher = sum(a > b for a, b in zip(gold, wrong, strict=True)) / len(gold)
    assert 1 / 3 <= higher <= 2 / 3
    assert all(abs(a - b) >= 1 for a, b in zip(gold, wrong, strict=True))


@every_task
def test_quotations_stand_in_the_row(task: str) -> None:
    known = rows(task)
    answers = [(line["id"], a["rationale"]) for line in rankings(task) for a in line["answers"]]
    for row_id, text in [*((line["id"], line["rationale"]) for line in rationales(task)), *answers]:
        for quoted in re.findall(r'"([^"]*)"', text):
            assert quoted.casefold().strip(".,") in texts_of(known[row_id]), (row_id, quoted)


@every_task
def test_length_does_not_give_the_right_label_away(task: str) -> None:
    """The longer rationale argues for gold in 40 to 60 of 100 rows; ties count half."""
    length = {(line["id"], line["is_gold"]): len(line["rationale"].split()) for line in rationales(task)}
    ids = {row_id for row_id, _ in length}
    longer = sum((length[i, True] > length[i, False]) + 0.5 * (length[i, True] == length[i, False]) for i in ids)
    assert 0.4 <= longer / len(ids) <= 0.6


@every_task
def test_rankings_name_every_answer_and_put_right_answers_first(task: str) -> None:
    known = rows(task)
    assert len(rankings(task)) >= MIN_RANKINGS
    for line in rankings(task):
        groups = [[int(number) - 1 for number in part.split("=")] for part in line["ranking"].split(">")]
        assert sorted(n for group in groups for n in group) == [0, 1, 2, 3, 4], line["id"]
        place = {number: index for index, group in enumerate(groups) for number in group}
        gold = known[line["id"]]["label"]
        right = {n for n, answer in enumerate(line["answers"]) if answer["label"] == gold}
        if task != "stsb" and len(right) < 5:
            wrong = set(range(5)) - right
            assert max(place[n] for n in right) < min(place[n] for n in wrong), line["id"]


def test_some_rankings_tie_and_some_answers_have_no_label() -> None:
    lines = [line for task in TASKS for line in rankings(task)]
    assert sum("=" in line["ranking"] for line in lines) >= 10
    assert sum(answer["label"] is None for line in lines for answer in line["answers"]) >= 3


def test_no_two_texts_are_nearly_the_same() -> None:
    texts = [line["rationale"] for task in TASKS for line in rationales(task)]
    texts += [answer["rationale"] for task in TASKS for line in rankings(task) for answer in line["answers"]]
    assert len({re.sub(r"\W", "", text).casefold() for text in texts}) == len(texts)
    found = [(text, kept) for text in texts if len(kept := triples(text)) >= 6]
    near = [
        (first, second)
        for (first, one), (second, two) in combinations(found, 2)
        if len(one & two) > NEAR_DUPLICATE * min(len(one), len(two))
    ]
    assert near == []


@every_task
def test_the_filter_keeps_the_rationales(task: str) -> None:
    """They are no training rows, so this is also a measurement: at most one in twenty may be lost."""
    asked = [(Example(task, line["id"], {}, line["label"]), line["label"]) for line in rationales(task)]
    annotations = [Annotation("k", line["rationale"], "answered", "bundled", "m") for line in rationales(task)]
    outcomes = [item.outcome for item in checked(annotations, asked, 0.5)]
    assert outcomes.count("answered") >= 0.95 * len(outcomes)


@every_task
def test_the_loader_agrees(task: str) -> None:
    for line in rationales(task):
        row = rows(task)[line["id"]]
        found = written_row(Example(task, line["id"], {}, row["label"]))
        assert found is not None
        assert found.rationales[line["label"]] == line["rationale"]
    ranked = {line["id"]: line for line in rankings(task)}
    found = written_row(Example(task, next(iter(ranked)), {}, rows(task)[next(iter(ranked))]["label"]))
    assert found is not None
    assert found.ranking is not None
    assert len(found.ranking.answers) == 5
