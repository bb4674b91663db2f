"""Submissions to GLUE and SuperGLUE: whole ones from random answers, and what a server would refuse."""

from __future__ import annotations

import json
import random
import zipfile
from pathlib import Path

import pytest

from rewardlab.errors import DataError
from rewardlab.evaluation.submission import (
    FILES,
    GLUE,
    RECORD,
    SUPERGLUE,
    Benchmark,
    OfficialFile,
    file_text,
    index_text,
    problems_of,
    read_file,
    write_submission,
)
from rewardlab.tasks.task import tasks
from rewardlab.types import Label


def by_name(name: str) -> OfficialFile:
    return next(file for file in (*GLUE, *SUPERGLUE) if file.name == name)


def random_answers(file: OfficialFile, rows: int | None = None) -> dict[str, Label]:
    """An answer to each row: MultiRC has questions of three answers, paragraphs of two questions."""
    rng = random.Random(file.name)
    indices = [
        f"{n // 6}-{n // 3}-{n}" if file.task == "multirc" else str(n)
        for n in range(file.rows if rows is None else rows)
    ]
    if file.scale is not None:
        return {index: rng.uniform(*file.scale) for index in indices}
    return {index: rng.choice(file.labels or ("Obama", "the UN")) for index in indices}


@pytest.mark.parametrize("benchmark", ["glue", "superglue"])
def test_a_whole_submission_of_random_answers_is_what_the_server_takes(tmp_path: Path, benchmark: Benchmark) -> None:
    files, path = FILES[benchmark], tmp_path / "mine.zip"
    write_submission(files, {file.name: random_answers(file) for file in files}, path)
    assert problems_of(files, path) == []
    with zipfile.ZipFile(path) as archive:
        assert sorted(archive.namelist()) == sorted(file.name for file in files)
        assert archive.testzip() is None
    assert {"glue": 11, "superglue": 10}[benchmark] == len(files)
    other: Benchmark = "superglue" if benchmark == "glue" else "glue"
    assert len(problems_of(FILES[other], path)) == len(FILES[other]) + len(files), "no file of the other one"


def test_files_say_what_the_benchmarks_publish() -> None:
    """By hand, after their FAQs: digits, lower-case and capital words of truth, labels as they are, nested answers."""
    said = {
        "CoLA.tsv": ({"1": "acceptable", "0": "unacceptable"}, "index\tprediction\n0\t0\n1\t1\n"),
        "STS-B.tsv": ({"0": 2.25}, "index\tprediction\n0\t2.25\n"),
        "QNLI.tsv": ({"0": "not_entailment"}, "index\tprediction\n0\tnot_entailment\n"),
        "WNLI.tsv": ({"0": "entailment", "1": "not_entailment"}, "index\tprediction\n0\t1\n1\t0\n"),
        "AX.tsv": ({"10": "neutral", "9": "contradiction"}, "index\tprediction\n9\tcontradiction\n10\tneutral\n"),
        "BoolQ.jsonl": ({"0": "yes"}, '{"idx": 0, "label": "true"}\n'),
        "COPA.jsonl": ({"0": "choice2"}, '{"idx": 0, "label": 1}\n'),
        "WSC.jsonl": ({"0": "no"}, '{"idx": 0, "label": "False"}\n'),
        "CB.jsonl": ({"0": "contradiction"}, '{"idx": 0, "label": "contradiction"}\n'),
        "AX-g.jsonl": ({"0": "entailment"}, '{"idx": 0, "label": "entailment"}\n'),
        "ReCoRD.jsonl": ({"3-17": "Zürich"}, '{"idx": 17, "label": "Zürich"}\n'),
    }
    assert {name: file_text(by_name(name), answers) for name, (answers, _) in said.items()} == {
        name: text for name, (_, text) in said.items()
    }
    nested = file_text(by_name("MultiRC.jsonl"), {"2-5-9": "yes", "2-5-10": "no", "2-6-11": "yes"})
    assert json.loads(nested) == {
        "idx": 2,
        "passage": {
            "questions": [
                {"idx": 5, "answers": [{"idx": 9, "label": 1}, {"idx": 10, "label": 0}]},
                {"idx": 6, "answers": [{"idx": 11, "label": 1}]},
            ]
        },
    }


def test_diagnostic_sets_are_answered_by_the_models_of_mnli_and_rte() -> None:
    assert {file.name: file.model_of for file in (*GLUE, *SUPERGLUE) if file.name.startswith("AX")} == {
        "AX.tsv": "mnli",
        "AX-b.jsonl": "rte",
        "AX-g.jsonl": "rte",
    }


@pytest.mark.parametrize("file", [file for file in (*GLUE, *SUPERGLUE) if file.name != RECORD], ids=lambda f: f.name)
def test_labels_are_those_of_our_tasks(file: OfficialFile) -> None:
    task = tasks.get(file.task)
    assert set(file.labels) == set(task.labels)
    assert file.scale == (task.numeric_range if task.is_numeric else None)
    assert task.hub is not None
    hub = {ours: theirs for theirs, ours in task.hub.labels.items()}
    digits = {label: str(word) for label, word in file.words.items() if isinstance(word, int)}
    assert digits == {label: hub[label] for label in digits}, "0 and 1 as the data set itself counts"


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("CoLA.tsv", "0\t1\n", "begins with '0\\t1', expected 'index\\tprediction'"),
        ("CoLA.tsv", "index\tprediction\n0\tacceptable\n", "1 rows say what the server does not know, such as 'acc"),
        ("CoLA.tsv", "index\tprediction\n0\t1\n0\t0\n", "an index stands in it twice"),
        ("CoLA.tsv", "index\tprediction\n0 1\n", "1 rows cannot be read, such as '0 1'"),
        ("STS-B.tsv", "index\tprediction\n0\t5.5\n", "expected a number from 0 to 5"),
        ("STS-B.tsv", "index\tprediction\n0\tnan\n", "expected a number from 0 to 5"),
        ("WiC.jsonl", '{"idx": 0, "label": true}\n', "expected 'false', 'true'"),
        ("COPA.jsonl", '{"idx": 0, "label": "1"}\n', "expected 0, 1"),
        ("COPA.jsonl", '{"idx": 0, "label": true}\n', "expected 0, 1"),
        ("WSC.jsonl", '{"idx": 0, "label": "true"}\n', "expected 'False', 'True'"),
        ("MultiRC.jsonl", '{"idx": 0, "label": 1}\n', "1 rows cannot be read"),
        ("ReCoRD.jsonl", '{"idx": 0, "label": " "}\n', "expected a text"),
        ("SST2.tsv", "index\tprediction\n", "no file of this benchmark"),
    ],
)
def test_what_a_server_would_refuse_is_told(tmp_path: Path, name: str, text: str, problem: str) -> None:
    files = GLUE if name.endswith(".tsv") else SUPERGLUE
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr(name, text)
    (told,) = problems_of(files, tmp_path / "bad.zip", is_whole=False)
    assert told.startswith(f"{name}: ")
    assert problem in told
    whole = problems_of(files, tmp_path / "bad.zip")
    assert sum(line.endswith(": missing") for line in whole) == len(files) - (name != "SST2.tsv")


def test_rows_that_are_missing_are_counted(tmp_path: Path) -> None:
    file = by_name("WNLI.tsv")
    write_submission((file,), {file.name: random_answers(file, 145)}, tmp_path / "few.zip")
    assert problems_of((file,), tmp_path / "few.zip") == ["WNLI.tsv: 145 rows, expected 146"]
    assert problems_of((file,), tmp_path / "none.zip")[0].startswith(f"{tmp_path / 'none.zip'}: not a ZIP file")


def test_a_label_of_another_task_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"RTE\.tsv: label 'neutral', expected one of entailment, not_entailment"):
        write_submission(GLUE, {"RTE.tsv": {"0": "neutral"}}, tmp_path / "mine.zip")
    assert not (tmp_path / "mine.zip").exists()


@pytest.mark.parametrize("name", ["CoLA.tsv", "STS-B.tsv", "WSC.jsonl", "MultiRC.jsonl", RECORD])
def test_answers_made_elsewhere_are_read_back(tmp_path: Path, name: str) -> None:
    file = by_name(name)
    answers = random_answers(file, 12)
    (tmp_path / name).write_text(file_text(file, answers), encoding="utf-8")
    assert file_text(file, read_file(file, tmp_path / name)) == file_text(file, answers)
    (tmp_path / name).write_text("words\n", encoding="utf-8")
    with pytest.raises(DataError, match=name):
        read_file(file, tmp_path / name)


def test_indices_of_hub_rows_are_written_one_way() -> None:
    assert index_text({"paragraph": 1, "question": 2, "answer": 3}) == "1-2-3"
    assert index_text(12) == "12"
