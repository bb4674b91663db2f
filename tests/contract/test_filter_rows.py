"""The filter's training rows: enough, balanced, varied, and apart from the texts it is later applied to."""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import combinations, product
from pathlib import Path
from typing import Any

from rewardlab.tasks import tasks

FOLDER = Path(__file__).parents[2] / "annotations"
TASKS = ("mr", "agnews", "appreviews", "mrpc", "qqp", "mnli", "sst2", "stsb")
CLASSES = ("good", "refused", "mismatched")
NEAR_DUPLICATE = 0.6


def rows() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / "filter" / "rows.jsonl").read_text(encoding="utf-8").splitlines()]


def triples(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.casefold())
    return set(zip(words, words[1:], words[2:], strict=False))


def test_there_are_three_hundred_rows_in_all_tasks_and_classes() -> None:
    found = rows()
    assert len(found) >= 300
    assert {tuple(row) for row in found} == {("task", "label", "class", "text")}
    counts = Counter((row["task"], row["class"]) for row in found)
    assert set(counts) == set(product(TASKS, CLASSES))
    assert min(counts.values()) >= 12
    shares = Counter(row["class"] for row in found)
    assert max(shares.values()) - min(shares.values()) <= 10


def test_every_label_is_asked_for_in_every_class() -> None:
    asked = {(row["task"], row["class"], row["label"]) for row in rows()}
    for name in TASKS:
        for wanted in product([name], CLASSES, tasks.get(name).labels):
            assert wanted in asked, wanted
    scores = [row["label"] for row in rows() if row["task"] == "stsb"]
    assert all(isinstance(score, float) and 0 <= score <= 5 for score in scores)


def test_texts_are_whole_and_no_two_are_nearly_the_same() -> None:
    texts = [row["text"] for row in rows()]
    assert all(text == " ".join(text.split()) and text[-1] in ".?!" for text in texts)
    assert len({re.sub(r"\W", "", text).casefold() for text in texts}) == len(texts)
    found = [(text, kept) for text in texts if len(kept := triples(text)) >= 5]
    near = [
        (first, second)
        for (first, one), (second, two) in combinations(found, 2)
        if len(one & two) > NEAR_DUPLICATE * min(len(one), len(two))
    ]
    assert near == []


def test_no_row_repeats_a_written_rationale() -> None:
    written = [
        triples(json.loads(line)["rationale"])
        for name in TASKS
        for line in (FOLDER / name / "rationales.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    for row in rows():
        own = triples(row["text"])
        assert all(len(own & other) <= NEAR_DUPLICATE * max(len(own), 5) for other in written), row["text"]
