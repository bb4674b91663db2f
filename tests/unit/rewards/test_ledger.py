"""The ledger: the logged total is the trained total, unscored rows stay out of averages, the summary's numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from rewardlab.errors import TrainingError
from rewardlab.rewards import GLOSSARY, Ledger, Shaped, summary
from rewardlab.types import Example, Score

NEWS = Example("agnews", "n1", {"text": "Rovers won."}, "Sports")
PROMPT = Example("agnews", "n2", {"text": "Rovers won."})
STS = Example("stsb", "s1", {"sentence1": "a", "sentence2": "b"}, 4.0)
RIGHT, WRONG = "Match.\n\n The answer is: Sports", "Money.\n\n The answer is: Business"


class Lines:
    """Stands for a run folder: keeps what is appended."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, dict[str, Any]]] = []

    def append(self, name: str, row: Mapping[str, Any]) -> None:
        self.rows.append((name, json.loads(json.dumps(row))))


def record(score: Score, shaped: Shaped | None, example: Example = NEWS, response: str = RIGHT) -> dict[str, Any]:
    lines = Lines()
    Ledger(lines.append).record(3, [example], [response], [score], [shaped], [2])
    [(name, row)] = lines.rows
    assert name == "samples.jsonl"
    return row


def test_a_row_holds_everything() -> None:
    score = Score(1.5, {"label": 7.0, "ranked": -3.5}, {"min(label, lam)": 5.0, "ranked": -3.5}, reason="capped")
    assert record(score, Shaped(total=0.25, score=0.75, kl=-0.25, penalty=-0.25)) == {
        "step": 3,
        "task": "agnews",
        "id": "n1",
        "sample": 2,
        "response": RIGHT,
        "answer": "Sports",
        "strict": "Sports",
        "gold": "Sports",
        "correct": True,
        "error": None,
        "parts": {"label": 7.0, "ranked": -3.5},
        "terms": {"min(label, lam)": 5.0, "ranked": -3.5},
        "score": 1.5,
        "reason": "capped",
        "shaped": {"score": 0.75, "kl": -0.25, "penalty": -0.25},
        "total": 0.25,
    }


def test_gold_is_compared_by_label_or_by_distance() -> None:
    shaped = Shaped(1.0, 1.0, 0.0, 0.0)
    assert record(Score(1.0), shaped, response=WRONG)["correct"] is False
    assert record(Score(1.0), shaped, response="?")["correct"] is False
    assert record(Score(1.0), shaped, PROMPT)["correct"] is None
    assert record(Score(1.0), shaped, STS, "x\n\n The answer is: 3.5")["error"] == 0.5
    assert record(Score(1.0), shaped, STS, "x")["error"] is None


@pytest.mark.parametrize(
    "shaped",
    [
        Shaped(total=1.0, score=0.75, kl=-0.25, penalty=0.0),
        Shaped(total=float("nan"), score=0.0, kl=0.0, penalty=0.0),
        Shaped(total=float("inf"), score=float("inf"), kl=0.0, penalty=0.0),
    ],
)
def test_a_total_that_is_not_the_sum_of_its_parts_is_refused(shaped: Shaped) -> None:
    lines = Lines()
    good = Shaped(0.5, 0.5, 0.0, 0.0)
    with pytest.raises(TrainingError, match=r"task agnews example n1 sample 0.*is not the trained total"):
        Ledger(lines.append).record(0, [NEWS, NEWS], [RIGHT] * 2, [Score(1.0)] * 2, [good, shaped])
    assert lines.rows == []


def test_rounding_of_token_sums_is_accepted() -> None:
    assert record(Score(1.0), Shaped(0.3000001, 0.5, -0.2, 0.0))["total"] == 0.3000001


def test_unscored_and_total_exclude_each_other() -> None:
    with pytest.raises(TrainingError, match="no score but a total"):
        record(Score(None, reason="judge failed"), Shaped(0.0, 0.0, 0.0, 0.0))
    with pytest.raises(TrainingError, match="a score but no total"):
        record(Score(0.0), None)
    row = record(Score(None, {"label": None}, reason="judge failed"), None)
    assert (row["total"], row["shaped"], row["reason"]) == (None, None, "judge failed")


def test_summary() -> None:
    lines = Lines()
    rows = Ledger(lines.append).record(
        1,
        [NEWS, NEWS, NEWS, PROMPT],
        [RIGHT, WRONG, "?", RIGHT],
        [
            Score(6.0, {"label": 6.0}, {"min(label, lam)": 5.0, "ranked": 1.0}),
            Score(3.0, {"label": 2.0}, {"min(label, lam)": 2.0, "ranked": 1.0}),
            Score(None, {"label": None}),
            Score(3.0, {"label": 5.0}, {"min(label, lam)": 5.0, "ranked": -2.0}),
        ],
        [Shaped(1.0, 1.0, 0.0, 0.0), Shaped(0.5, 0.5, 0.0, 0.0), None, Shaped(0.0, 0.5, -0.5, 0.0)],
    )
    means = summary(rows, lam=5.0)
    assert means == {
        "reward/score": 4.0,  # (6 + 3 + 3) / 3: the unscored one is left out, not 0
        "reward/deviation": pytest.approx(2**0.5),  # 2, -1, -1 around 4
        "reward/total": 0.5,
        "reward/unscored": 0.25,
        "reward/malformed": 0.25,
        "reward/gold_accuracy": pytest.approx(1 / 3),  # the prompt without gold is left out
        "reward/balanced_accuracy": pytest.approx(1 / 3),
        "reward/recall/agnews/Sports": pytest.approx(1 / 3),
        "reward/lambda_saturation": pytest.approx(2 / 3),  # 6 and 5 of three label RM scores
        "reward/part/label": pytest.approx(13 / 3),
        "reward/term/min(label, lam)": 4.0,
        "reward/term/ranked": 0.0,
    }
    known = {key.rstrip("*") for key in GLOSSARY}
    assert all(key in GLOSSARY or any(key.startswith(start) for start in known) for key in means)


def labelled(task: str, gold: str, right: int, wrong: int) -> list[dict[str, Any]]:
    row = {"task": task, "gold": gold, "answer": "x", "error": None, "parts": {}, "terms": {}, "score": 0.0}
    return [{**row, "correct": True}] * right + [{**row, "correct": False}] * wrong


def test_a_frequent_label_does_not_hide_a_rare_one() -> None:
    """Nine of ten right, and the rare label never: recalls 1 and 0; the other task, whose label is always wrong, 0."""
    means = summary([*labelled("mr", "positive", 9, 0), *labelled("mr", "negative", 0, 1), *labelled("a", "x", 0, 2)])
    assert means["reward/gold_accuracy"] == 0.75
    assert means["reward/balanced_accuracy"] == 0.25  # (1/2 + 0) / 2
    assert {key: value for key, value in means.items() if "recall" in key} == {
        "reward/recall/mr/positive": 1.0,
        "reward/recall/mr/negative": 0.0,
        "reward/recall/a/x": 0.0,
    }


@pytest.mark.parametrize(("labels", "curves"), [(20, 20), (21, 0)])
def test_many_labels_have_no_curve_each(labels: int, curves: int) -> None:
    means = summary([row for label in range(labels) for row in labelled("banking77", f"card {label}", label % 2, 1)])
    assert sum("recall" in key for key in means) == curves
    assert means["reward/balanced_accuracy"] == pytest.approx(0.5 * (labels // 2) / labels)


def test_summary_without_lambda_or_rows() -> None:
    assert summary([]) == {}
    rows = Ledger(Lines().append).record(
        0, [STS], ["x\n\n The answer is: 1"], [Score(-0.5)], [Shaped(-0.5, -0.5, 0, 0)]
    )
    assert summary(rows)["reward/gold_error"] == 3.0
    assert "reward/lambda_saturation" not in summary(rows)
    assert "reward/gold_error" in GLOSSARY


@pytest.mark.parametrize(
    ("shaped", "adds_up"),
    [
        (Shaped(0.001, 0.0, 0.0, 0.0), True),  # a thousandth of 1, below which nothing counts as large
        (Shaped(0.0015, 0.0, 0.0, 0.0), False),
        (Shaped(0.05, 50.0, -100.0, 50.0), True),  # a thousandth of 100
        (Shaped(0.15, 50.0, -100.0, 50.0), False),
    ],
)
def test_components_may_miss_their_total_by_a_thousandth_of_the_largest(shaped: Shaped, adds_up: bool) -> None:
    if adds_up:
        assert record(Score(1.0), shaped)["total"] == shaped.total
    else:
        with pytest.raises(TrainingError, match="is not the trained total"):
            record(Score(1.0), shaped)


def test_a_deviation_takes_two_scores() -> None:
    shaped = Shaped(1.0, 1.0, 0.0, 0.0)
    assert not shaped.is_clipped
    one, other = (record(Score(value), shaped) for value in (1.0, 4.0))
    assert "reward/deviation" not in summary([one])
    assert summary([one, other])["reward/deviation"] == 1.5  # 1.5 on either side of 2.5
