"""The bundled sample: shape, labels, balance and originality of ``rewardlab/tasks/bundled/*.jsonl``.

Read with the standard library alone, so that a fault in the data and a fault in the loader show in different tests.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

BUNDLED = Path(__file__).parents[2] / "rewardlab" / "tasks" / "bundled"
MIN_ROWS = 32
SINGLE = ("text",)
PAIR = ("sentence1", "sentence2")

FIELDS = {
    "mr": SINGLE,
    "agnews": SINGLE,
    "appreviews": SINGLE,
    "mrpc": PAIR,
    "qqp": PAIR,
    "mnli": PAIR,
    "sst2": SINGLE,
    "stsb": PAIR,
    "cola": SINGLE,
}
LABELS = {
    "mr": {"positive", "negative"},
    "agnews": {"World politics", "Sports", "Business", "Science and technology"},
    "appreviews": {"1", "2", "3", "4", "5"},
    "mrpc": {"yes", "no"},
    "qqp": {"yes", "no"},
    "mnli": {"entailment", "neutral", "contradiction"},
    "sst2": {"positive", "negative"},
    "cola": {"acceptable", "unacceptable"},
}
SEVERAL = "goemotions_ekman"
EMOTIONS = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")
TWO_LABEL = sorted(task for task, labels in LABELS.items() if len(labels) == 2)
every_task = pytest.mark.parametrize("task", sorted(FIELDS))


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON Lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def bundled(task: str) -> list[dict[str, Any]]:
    """The bundled rows of ``task``."""
    return read_rows(BUNDLED / f"{task}.jsonl")


def squeeze(text: str) -> str:
    """Letters and digits alone, lower case: what two copies share whatever was done to spaces and quotes."""
    return "".join(character for character in text.casefold() if character.isalnum())


def texts(rows: list[dict[str, Any]], task: str) -> list[tuple[str, ...]]:
    """The squeezed texts of each row."""
    return [tuple(squeeze(row[field]) for field in FIELDS[task]) for row in rows]


def test_there_is_one_file_for_each_task_and_no_other() -> None:
    assert {path.stem for path in BUNDLED.glob("*.jsonl")} == {*FIELDS, SEVERAL}


def test_rows_with_several_labels() -> None:
    rows = bundled(SEVERAL)
    assert len(rows) >= MIN_ROWS
    assert {tuple(row) for row in rows} == {("id", "text", "labels")}
    assert len({squeeze(row["text"]) for row in rows}) == len(rows)
    assert {label for row in rows for label in row["labels"]} == set(EMOTIONS)
    assert all(1 <= len(row["labels"]) == len(set(row["labels"])) for row in rows)
    assert sum(len(row["labels"]) > 1 for row in rows) >= 8


@every_task
def test_rows_are_enough_and_have_exactly_the_fields_of_the_task(task: str) -> None:
    rows = bundled(task)
    assert len(rows) >= MIN_ROWS
    assert {tuple(row) for row in rows} == {("id", *FIELDS[task], "label")}


@every_task
def test_texts_are_clean(task: str) -> None:
    for row in bundled(task):
        for field in FIELDS[task]:
            assert row[field] == " ".join(row[field].split()) != "", row["id"]
            assert "\\" not in row[field], row["id"]


@every_task
def test_ids_count_up_and_texts_are_unique(task: str) -> None:
    rows = bundled(task)
    assert [row["id"] for row in rows] == [f"{task}-bundled-{index:03d}" for index in range(len(rows))]
    twice = [text for text, count in Counter(texts(rows, task)).items() if count > 1]
    assert twice == []


@every_task
def test_a_pair_is_never_the_same_text_twice(task: str) -> None:
    assert [pair for pair in texts(bundled(task), task) if len(pair) == 2 and pair[0] == pair[1]] == []


@pytest.mark.parametrize("task", sorted(LABELS))
def test_label_set_is_exact(task: str) -> None:
    assert {row["label"] for row in bundled(task)} == LABELS[task]


@pytest.mark.parametrize("task", sorted(LABELS))
def test_order_of_labels_is_neither_sorted_nor_alternating(task: str) -> None:
    labels = [row["label"] for row in bundled(task)]
    changes = sum(first != second for first, second in pairwise(labels))
    expected = (len(labels) - 1) * (1 - 1 / len(LABELS[task]))  # of a random order with equal shares
    assert 0.5 * expected < changes < min(1.5 * expected, len(labels) - 1)


@pytest.mark.parametrize("task", TWO_LABEL)
def test_two_label_tasks_are_balanced(task: str) -> None:
    rows = bundled(task)
    for label, count in Counter(row["label"] for row in rows).items():
        assert 0.4 <= count / len(rows) <= 0.6, (label, count)


@pytest.mark.parametrize("task", ["agnews", "appreviews", "mnli"])
def test_other_label_tasks_have_equal_shares(task: str) -> None:
    assert len(set(Counter(row["label"] for row in bundled(task)).values())) == 1


def test_stsb_scores_are_floats_that_cover_the_scale() -> None:
    scores = [row["label"] for row in bundled("stsb")]
    assert all(type(score) is float and 0.0 <= score <= 5.0 for score in scores)
    assert min(scores) == 0.0
    assert max(scores) == 5.0
    assert {min(int(score), 4) for score in scores} == {0, 1, 2, 3, 4}


def test_mr_and_sst2_share_no_text() -> None:
    assert set(texts(bundled("mr"), "mr")) & set(texts(bundled("sst2"), "sst2")) == set()


@every_task
def test_no_text_occurs_in_the_real_data(task: str) -> None:
    folder = os.environ.get("REWARDLAB_DATA")
    if not folder:
        pytest.skip("needs REWARDLAB_DATA, the folder of real data sets to compare with")
    files = sorted((Path(folder) / task).glob("*.jsonl"))
    if not files:
        pytest.skip(f"REWARDLAB_DATA has no {task} to compare with")
    real = {text for path in files for pair in texts(read_rows(path), task) for text in pair}
    assert [row["id"] for row in bundled(task) if real & {squeeze(row[field]) for field in FIELDS[task]}] == []
