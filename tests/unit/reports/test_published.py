"""A report that travels brings the answers of its evaluations, without texts: anybody can make its tables anew."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from rewardlab.claims.claim import Claim
from rewardlab.disk import read_json
from rewardlab.evaluation.answers import ANSWERS_FILE, FIELDS, read_answers
from rewardlab.reports.page import SuiteFacts, write_report
from tests.support.commands import Command
from tests.support.runs import answers_with, eval_folder

SECRET = "what the model wrote"
RIGHT = {"SFT w. rationale": (60, 62, 61), "PPO": (70, 76, 73)}
BETTER = Claim(
    id="C12", says="better rationales", measure="quality", better="PPO", than="SFT w. rationale", column="toy"
)


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A suite's report outside its runs, which then are gone: what reaches a reader."""
    runs, out = tmp_path / "machine" / "runs", tmp_path / "machine" / "out"
    for method, rights in RIGHT.items():
        for seed, right in enumerate(rights):
            columns = {name: {each: answers_with(right, 100, 3) for each in ("sampled", "greedy")} for name in "ab"}
            quality = [(n + seed + (method == "PPO")) % 7 / 7 for n in range(100)]
            folder = runs / "eval" / f"{method}-{seed}"
            eval_folder(folder, method=method, seed=seed, columns=columns, cut=4, quality=quality, reward="rule")
            lines = (folder / "predictions.jsonl").read_text().replace('"prompt": "?"', f'"prompt": "{SECRET}"')
            (folder / "predictions.jsonl").write_text(lines)
    claim = BETTER.model_copy(update={"column": "a"})
    facts = SuiteFacts("s", claims=(claim,), against=("SFT w. rationale",))
    write_report(out, sorted((runs / "eval").iterdir()), command="x", suite=facts, brings_runs=True)
    place = tmp_path / "clone"
    shutil.move(out, place)
    shutil.rmtree(runs)
    return place


def test_compare_on_what_was_published_gives_the_same_tables(rewardlab: Command, published: Path) -> None:
    done = rewardlab("compare", str(published), "--out", "again")
    assert done.code == 0, done.err
    for name in ("table.md", "table.csv", "table.tex", "differences.csv"):
        assert (Path("again") / name).read_text() == (published / name).read_text(), name
    assert "left out" not in done.out


def test_claims_on_rationales_are_measured_again_too(published: Path, tmp_path: Path) -> None:
    claim = BETTER.model_copy(update={"column": "a"})
    evals = sorted((published / "run-files" / "eval").iterdir())
    write_report(tmp_path / "again", evals, command="x", suite=SuiteFacts("s", claims=(claim,)))
    (first,), (again,) = (read_json(where / "claims.json")["claims"] for where in (published, tmp_path / "again"))
    assert first["size"] is not None
    assert again["size"] == first["size"]


def test_ids_gold_answers_and_whether_they_ended_are_published_and_no_text(published: Path) -> None:
    files = sorted(published.rglob(ANSWERS_FILE))
    assert len(files) == 6
    assert SECRET.encode() not in b"".join(path.read_bytes() for path in published.rglob("*") if path.is_file())
    assert not list(published.rglob("predictions.jsonl"))
    for file in files:
        stored = json.loads(file.read_text())
        # no answer states a confidence, and the task has no groups
        assert set(stored["a"]["greedy"]) == set(FIELDS) - {
            "confidence",
            "groups",
        }
        cell = read_answers(file.parent)["a", "greedy"]
        assert cell.finished == (False,) * 4 + (True,) * 96
        assert sum(answer is None for answer in cell.answers) == 3


def test_a_changed_answer_changes_the_table(rewardlab: Command, published: Path) -> None:
    """So the published answers are what the table is made from."""
    for file in published.rglob(ANSWERS_FILE):
        stored = json.loads(file.read_text())
        stored["a"]["greedy"]["answers"] = stored["a"]["greedy"]["gold"]
        file.write_text(json.dumps(stored))
    assert rewardlab("compare", str(published), "--out", "again").code == 0
    # all rows answer as gold says, so none of them is the best
    lines = [line for line in Path("again/table.md").read_text().splitlines() if line.startswith("| ")][2:]
    assert ["| 100.0" in line for line in lines] == [True, True]
