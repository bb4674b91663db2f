"""The leaderboards' scores on the numbers that they print, and whole submissions of random answers to made-up rows."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rewardlab.errors import DataError
from rewardlab.evaluation.leaderboard import METRICS, counted_tasks, score, scores_of
from rewardlab.evaluation.official import official_rows
from rewardlab.evaluation.predict import random_answer
from rewardlab.evaluation.submission import FILES, Benchmark, OfficialFile, problems_of, write_submission
from rewardlab.tasks.task import tasks

GLUE_BERT = {
    "CoLA.tsv": (60.5,),
    "SST-2.tsv": (94.9,),
    "MRPC.tsv": (89.3, 85.4),
    "STS-B.tsv": (87.6, 86.5),
    "QQP.tsv": (72.1, 89.3),
    "MNLI-m.tsv": (86.7,),
    "MNLI-mm.tsv": (85.9,),
    "QNLI.tsv": (92.7,),
    "RTE.tsv": (70.1,),
    "WNLI.tsv": (65.1,),
    "AX.tsv": (39.6,),
}
"""BERT-large on gluebenchmark.com/leaderboard; its score there is 80.5."""
SUPERGLUE_BERT = {
    "BoolQ.jsonl": (79.0,),
    "CB.jsonl": (84.8, 90.4),
    "COPA.jsonl": (73.8,),
    "MultiRC.jsonl": (70.0, 24.1),
    "ReCoRD.jsonl": (72.0, 71.3),
    "RTE.jsonl": (79.0,),
    "WiC.jsonl": (69.6,),
    "WSC.jsonl": (64.4,),
    "AX-b.jsonl": (38.0,),
    "AX-g.jsonl": (99.4, 51.4),
}
"""BERT++ on super.gluebenchmark.com/leaderboard; its score there is 71.5."""


@pytest.mark.parametrize(
    ("benchmark", "printed", "average"), [("glue", GLUE_BERT, 80.5), ("superglue", SUPERGLUE_BERT, 71.5)]
)
def test_the_score_is_the_one_that_the_leaderboard_prints(
    benchmark: Benchmark, printed: dict[str, tuple[float, ...]], average: float
) -> None:
    scores = {name: dict(zip(METRICS[benchmark][name], values, strict=True)) for name, values in printed.items()}
    found = score(benchmark, scores)
    assert found is not None
    assert round(found, 1) == average
    assert list(scores) == [file.name for file in FILES[benchmark]]
    assert len(counted_tasks(benchmark)) == {"glue": 9, "superglue": 8}[benchmark]
    del scores[next(iter(scores))]
    assert score(benchmark, scores) is None


def hub_rows(file: OfficialFile, number: int) -> list[dict[str, Any]]:
    """Rows as the hub has them, with gold labels: MultiRC's index is nested, ReCoRD's too; AX-g has pairs."""
    task = tasks.get(file.task)
    rows = []
    for n in range(number):
        columns = {name: file.fields.get(name, task.sources(name)[-1]) for name in task.fields}
        row: dict[str, Any] = {column: f"{name} {n}" for name, column in columns.items()}
        row["idx"] = n
        label: Any = task.labels[n % len(task.labels)] if task.labels else float(n % 6)
        if file.task == "multirc":
            row |= {"paragraph": f"P {n // 4}", "question": f"Q {n // 2}"}
            row["idx"] = {"paragraph": n // 4, "question": n // 2, "answer": n}
        if file.task == "record":
            row |= {"entities": ["Rome", "Lima", f"Town {n}"], "idx": {"passage": n // 2, "query": n}}
            label = [f"Town {n}"]
        if file.task == "axg":
            row[columns["sentence1"]] = f"The nurse {n // 2} lost {('his', 'her')[n % 2]} keys."
            row[columns["sentence2"]] = f"{n // 2} lost keys."
        rows.append({**row, task.sources("label")[-1]: label})
    return rows


def written(folder: Path, benchmark: Benchmark, rows: int) -> None:
    for file in FILES[benchmark]:
        lines = [json.dumps(row) for row in hub_rows(file, rows)]
        (folder / f"{Path(file.name).stem}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.parametrize("benchmark", ["glue", "superglue"])
def test_random_answers_to_all_rows_make_a_submission(tmp_path: Path, benchmark: Benchmark) -> None:
    """Every file's rows are read, answered by a draw among its own answers, written, and found in order."""
    written(tmp_path, benchmark, 12)
    answers, scores = {}, {}
    for file in FILES[benchmark]:
        rows = official_rows(benchmark, file, "judgement", tmp_path)
        answers[file.name] = {row.id: random_answer(0, row, "greedy") for row in rows}
        measured = scores_of(benchmark, file, rows, answers[file.name])
        assert measured is not None
        scores[file.name] = measured
        assert all(-1 <= value <= 1 for value in measured.values())
    write_submission(FILES[benchmark], answers, tmp_path / "all.zip")
    assert problems_of(FILES[benchmark], tmp_path / "all.zip", is_whole=False) == []
    assert sum("12 rows, expected" in line for line in problems_of(FILES[benchmark], tmp_path / "all.zip")) == len(
        FILES[benchmark]
    )
    assert score(benchmark, scores) is not None
    if benchmark == "superglue":
        with zipfile.ZipFile(tmp_path / "all.zip") as archive:
            lines = [json.loads(line) for line in archive.read("ReCoRD.jsonl").decode().splitlines()]
        assert [line["idx"] for line in lines] == list(range(12))
        assert all(line["label"] in ("Rome", "Lima", f"Town {line['idx']}") for line in lines)


@pytest.mark.parametrize("benchmark", ["glue", "superglue"])
def test_right_answers_score_all(tmp_path: Path, benchmark: Benchmark) -> None:
    written(tmp_path, benchmark, 12)
    scores = {}
    for file in FILES[benchmark]:
        rows = official_rows(benchmark, file, "label", tmp_path)
        gold = {row.id: row.label for row in rows if row.label is not None}
        scores[file.name] = scores_of(benchmark, file, rows, gold) or {}
    assert score(benchmark, scores) == pytest.approx(1.0)


def rows_of(folder: Path, name: str, labels: Sequence[object]) -> tuple[OfficialFile, Path]:
    file = next(each for each in FILES["superglue"] if each.name == name)
    rows = [{**row, "label": label} for row, label in zip(hub_rows(file, len(labels)), labels, strict=True)]
    (folder / "COPA.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return file, folder


def test_hidden_labels_are_no_labels_and_wrong_ones_are_told(tmp_path: Path) -> None:
    file, folder = rows_of(tmp_path, "COPA.jsonl", [-1, "0"])
    rows = official_rows("superglue", file, "label", folder)
    assert [row.label for row in rows] == [None, "choice1"]
    assert scores_of("superglue", file, rows, {"0": "choice1", "1": "choice1"}) is None
    rows_of(tmp_path, "COPA.jsonl", ["choice3"])
    with pytest.raises(DataError, match=r"row 1: label 'choice3' is not one of choice1, choice2; leave label out"):
        official_rows("superglue", file, "label", folder)
