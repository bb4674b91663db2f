"""Stated confidence from an evaluation to the tables: stored with the answers, measured over seeds, shown if any."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rewardlab.comparison.confidence import all_confidences, confidence_frame, confidence_grid
from rewardlab.comparison.markdown import to_markdown
from rewardlab.comparison.runs import collect
from rewardlab.comparison.table import ComparisonTable, build_table
from rewardlab.disk import write_jsonl
from rewardlab.evaluation.answers import ANSWERS_FILE, read_answers, write_answers
from rewardlab.evaluation.predict import GeneratedText, evaluate
from rewardlab.reports.page import write_tables
from rewardlab.reports.sections.answers import confidence_blocks
from rewardlab.types import Example
from tests.support.runs import eval_folder

GOLD = ["positive", "positive", "negative", "negative"]
TEXTS = ["positive (90 %)", "negative (80 %)", "negative (70 %)", "perhaps (60 %)"]
"""Right at 0.9, wrong at 0.8, right at 0.7, malformed."""
PLACE = (0, ("mr", "greedy"))


def rows(format: str = "confident") -> list[Example]:
    return [Example("mr", str(n), {"text": "x"}, gold, format) for n, gold in enumerate(GOLD)]  # type: ignore[arg-type]


def table_of(root: Path, *texts: list[str]) -> ComparisonTable:
    """One method, a seed for each list of texts; folders of ``eval_folder`` with answers of real evaluations."""
    for seed, own in enumerate(texts):
        drawn = [GeneratedText(f"The answer is: {text}", True) for text in own]
        found = evaluate({"mr": rows()}, lambda *_, drawn=drawn: drawn, decodings=("greedy",), bootstrap=100)
        answers = [row.answer for row in found.rows]
        labels = ("negative", "positive")
        folder = eval_folder(
            root / "eval" / f"m-{seed}", seed=seed, columns={"mr": {"greedy": (GOLD, answers)}}, labels=labels
        )
        write_jsonl(folder / "predictions.jsonl", (row.to_json() for row in found.rows))
        write_answers(folder, found.rows)
        result = json.loads((folder / "result.json").read_text())
        result.pop("outputs", None)
        (folder / "result.json").write_text(json.dumps(result))
    return build_table(collect([root]).runs, decodings=("greedy",), resamples=200)


def test_by_hand(tmp_path: Path) -> None:
    found = all_confidences(table_of(tmp_path, TEXTS))[PLACE]
    assert found.stated == 0.75
    assert found.measures["overconfidence"].value == pytest.approx(0.8 - 2 / 3)
    assert found.measures["brier"].value == pytest.approx((0.01 + 0.64 + 0.09) / 3)
    assert found.measures["aurc"].value == pytest.approx((0 + 1 / 2 + 1 / 3) / 3)


def test_seeds_are_averaged(tmp_path: Path) -> None:
    found = all_confidences(table_of(tmp_path, TEXTS, ["positive (100 %)"] * 4))[PLACE]
    assert found.stated == pytest.approx((0.75 + 1.0) / 2)
    assert found.measures["overconfidence"].value == pytest.approx((0.8 - 2 / 3 + 0.5) / 2)
    assert found.measures["overconfidence"].basis == "seeds and items"


def test_shown_where_answers_state_any(tmp_path: Path) -> None:
    table = table_of(tmp_path / "a", TEXTS)
    [line] = confidence_grid(table, all_confidences(table)).rows
    assert [cell.text for cell in line[:4]] == ["mr", "SFT w. rationale", "75.0", "13.3"]
    assert "ECE" in to_markdown(table)
    assert confidence_blocks(table)
    assert "confidence.csv" in {path.name for path in write_tables(table, tmp_path / "out")}
    assert {row["measure"] for row in confidence_frame(table, all_confidences(table)).to_dicts()} == {
        *("overconfidence", "ece", "brier", "aurc")
    }
    plain = eval_folder(tmp_path / "b" / "eval" / "m", columns={"toy": {"greedy": (["yes", "no"], ["yes", "no"])}})
    other = build_table(collect([plain.parent.parent]).runs, decodings=("greedy",), resamples=100)
    assert all_confidences(other) == {}
    assert "ECE" not in to_markdown(other)
    assert confidence_blocks(other) == []


def test_an_evaluation_stores_it_and_others_do_not(tmp_path: Path) -> None:
    drawn = [GeneratedText(f"The answer is: {text}", True) for text in TEXTS]
    found = evaluate({"mr": rows()}, lambda *_: drawn, decodings=("greedy",), bootstrap=100)
    cell = found.columns["mr"]["greedy"]["confidence"]
    assert cell["stated"] == 0.75
    assert cell["overconfidence"]["value"] == pytest.approx(0.8 - 2 / 3)
    assert (cell["accuracy_at_50"], cell["accuracy_at_80"]) == (0.5, 0.5)  # two of three answers, both times
    assert found.rows[0].to_json()["confidence"] == 0.9
    write_answers(tmp_path, found.rows)
    assert read_answers(tmp_path)["mr", "greedy"].confidence == (0.9, 0.8, 0.7, 0.6)
    plain = evaluate({"mr": rows("rationale")}, lambda *_: drawn, decodings=("greedy",), bootstrap=100)
    assert "confidence" not in plain.columns["mr"]["greedy"]
    assert "confidence" not in plain.rows[0].to_json()
    write_answers(tmp_path, plain.rows)
    assert "confidence" not in json.loads((tmp_path / ANSWERS_FILE).read_text())["mr"]["greedy"]
