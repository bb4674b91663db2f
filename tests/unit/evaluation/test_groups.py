"""Rows that are measured together: exact match over MultiRC's questions, parity over AX-g's pairs, their resamples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rewardlab.comparison.evaluations import read_cells
from rewardlab.comparison.statistics import draws_of
from rewardlab.errors import ConfigError
from rewardlab.evaluation.answers import write_answers
from rewardlab.evaluation.predict import GeneratedText, evaluate
from rewardlab.intervals import bootstrap_interval, calibration_interval, item_counts
from rewardlab.metrics import METRICS, encode, measure
from rewardlab.tasks import tasks
from rewardlab.tasks.checked import CheckedRows, Outline
from rewardlab.tasks.division import Limits
from rewardlab.tasks.sources import divide
from rewardlab.types import Example

MULTIRC, AXG = tasks.get("multirc"), tasks.get("axg")
GOLD = ["yes", "no", "no", "yes", "yes", "no"]
ANSWERS = ["yes", "no", "yes", None, "yes", "no"]
QUESTIONS = ["a", "a", "b", "b", "c", "c"]
"""Question a is right, b has a false alarm and a malformed answer, c is right."""


def row(number: int, question: str, label: str = "yes") -> Example:
    fields = {"paragraph": "P.", "question": question, "answer": str(number)}
    return Example("multirc", f"{number:03d}", fields, label, "label")


def pair(number: int, pronoun: str, label: str = "entailment") -> Example:
    fields = {"sentence1": f"The nurse {number} lost {pronoun} keys.", "sentence2": f"{number} lost keys."}
    return Example("axg", f"{number}-{pronoun}", fields, label, "label")


def test_exact_match_counts_questions() -> None:
    """Two of three questions have every answer right; four of six answers are; alone, rows are their own question."""
    assert measure("exact_match", encode("exact_match", GOLD, ANSWERS, MULTIRC, QUESTIONS)) == pytest.approx(2 / 3)
    assert measure("exact_match", encode("exact_match", GOLD, ANSWERS, MULTIRC)) == pytest.approx(4 / 6)
    assert measure("accuracy", encode("accuracy", GOLD, ANSWERS, MULTIRC, QUESTIONS)) == pytest.approx(4 / 6)


def test_groups_need_not_stand_side_by_side() -> None:
    order = [4, 0, 2, 5, 3, 1]
    gold, answers, groups = ([values[n] for n in order] for values in (GOLD, ANSWERS, QUESTIONS))
    assert measure("exact_match", encode("exact_match", gold, answers, MULTIRC, groups)) == pytest.approx(2 / 3)


def test_parity_asks_for_equal_answers_right_or_wrong() -> None:
    """By hand: equal and wrong; unequal; malformed twice, which is equal; malformed once."""
    gold = ["entailment"] * 8
    answers = ["not_entailment", "not_entailment", "entailment", "not_entailment", None, None, None, "entailment"]
    found = encode("parity", gold, answers, AXG, [str(n // 2) for n in range(8)])
    assert measure("parity", found) == 0.5
    with pytest.raises(ConfigError, match="rows stand in groups"):
        measure("parity", encode("parity", gold, answers, AXG))


def test_a_resample_counts_a_group_as_often_as_it_draws_it() -> None:
    """Question a twice, b three times, c never: 2 of 5."""
    counts = np.array([[2, 2, 3, 3, 0, 0]], dtype=np.float64)
    found = METRICS["exact_match"](encode("exact_match", GOLD, ANSWERS, MULTIRC, QUESTIONS), counts)
    assert found.tolist() == [pytest.approx(2 / 5)]
    assert METRICS["accuracy"](encode("accuracy", GOLD, ANSWERS, MULTIRC, QUESTIONS), counts) == pytest.approx(4 / 10)


def test_rows_of_a_group_are_drawn_together() -> None:
    counts = item_counts(6, 50, 1, tuple(QUESTIONS))
    assert counts.shape == (50, 6)
    for first in (0, 2, 4):
        assert (counts[:, first] == counts[:, first + 1]).all()
    assert (counts[:, ::2].sum(axis=1) == 3).all(), "as many questions as there are"
    assert len({tuple(each) for each in counts.tolist()}) > 5


def test_an_interval_over_groups_is_wider_than_over_their_rows() -> None:
    """Ten questions of ten answers, all of a question right or all wrong: ten facts, not a hundred."""
    groups = tuple(str(n // 10) for n in range(100))
    answers = ["yes" if n // 10 % 2 else "no" for n in range(100)]
    alone = bootstrap_interval("accuracy", ["yes"] * 100, answers, MULTIRC)
    together = bootstrap_interval("accuracy", ["yes"] * 100, answers, MULTIRC, groups=groups)
    assert alone.value == together.value == 0.5
    assert together.high - together.low > 2.5 * (alone.high - alone.low)


def test_calibration_over_groups_is_wider_than_over_their_rows() -> None:
    groups = tuple(str(n // 10) for n in range(100))
    right = np.array([n // 10 % 2 for n in range(100)], dtype=np.float64)
    alone = calibration_interval("overconfidence", np.full(100, 0.8), right)
    together = calibration_interval("overconfidence", np.full(100, 0.8), right, groups=groups)
    assert together.high - together.low > 2.5 * (alone.high - alone.low)


def test_groups_reach_the_table(tmp_path: Path) -> None:
    """An evaluation stores them, and a comparison reads them: its draws are those of the questions."""
    examples = [row(n, question, gold) for n, (question, gold) in enumerate(zip(QUESTIONS, GOLD, strict=True))]
    texts = [GeneratedText(answer or "?", finished=True) for answer in ANSWERS]
    found = evaluate({"multirc": examples}, lambda rows, decoding: texts, bootstrap=20, decodings=("greedy",))
    assert found.columns["multirc"]["greedy"]["metrics"]["exact_match"]["value"] == pytest.approx(2 / 3)
    write_answers(tmp_path, found.rows)
    (cell,) = read_cells(tmp_path, found.columns).values()
    assert cell.groups is not None
    assert (len(set(cell.groups)), cell.draws) == (3, 3)
    draws = draws_of({0: cell}, ("exact_match",), 200)
    assert draws.values.tolist() == [pytest.approx(2 / 3)]
    assert (draws.item_df, draws.one_item) == (2, pytest.approx(1 / 9))
    assert {round(3 * value) for value in draws.draws[0].tolist()} == {0, 1, 2, 3}
    assert np.allclose(3 * draws.draws, np.round(3 * draws.draws)), "whole questions of three"


def test_the_two_rows_of_a_pronoun_pair_are_one_group() -> None:
    assert AXG.group is not None
    names = [AXG.group(pair(n, pronoun).fields) for n in (1, 2) for pronoun in ("his", "Her")]
    assert names[0] == names[1] != names[2] == names[3]


def checked(rows: list[Example]) -> CheckedRows:
    outline = Outline()
    for each in rows:
        outline.add(each)
    return CheckedRows(outline, lambda numbers: {number: rows[number] for number in numbers})


def test_a_test_that_is_cut_keeps_whole_questions() -> None:
    rows = [row(n, f"{n // 4}", "yes" if n % 2 else "no") for n in range(40)]
    train = [row(n, f"{n}", "yes" if n % 2 else "no") for n in range(100, 140)]
    parts = divide(
        MULTIRC,
        {"train": checked(train), "test": checked(rows)},
        Limits(labelled=4, prompts=4, validation=4, test=11),
        0,
        0,
    )
    kept = parts.tests["multirc"]
    assert len(kept) == 8, "two whole questions of four; a third would be the twelfth row"
    assert len({example.fields["question"] for example in kept}) == 2
