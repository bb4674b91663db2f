"""Another reward on stored samples: what the page says, and what it does not execute."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rewardlab.studio import expression as module
from tests.support.studio import client_of, ledger_row, ppo_run, stage_folder, studio_of, text_of

PAGE = "/expression/ppo/toy-p1"
NAMES = ("a", "b", "c", "d")
SCORES = {"a": (3.0, 0.0), "b": (2.0, 1.0), "c": (1.0, 2.0), "d": (0.0, 3.0)}
"""Row -> its label and ranked score: the second turns the order of the first around."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """One step of four responses, trained on the label RM; a and b are right."""
    rows = [
        ledger_row(
            1,
            name,
            "positive" if name in "ab" else "negative",
            parts=dict(zip(("label", "ranked"), SCORES[name], strict=True)),
            terms={"label": SCORES[name][0]},
            score=SCORES[name][0],
        )
        for name in NAMES
    ]
    config = {"task": "sandbox-sentiment", "seed": 0, "reward": {"expression": "label"}}
    ppo_run(tmp_path / "runs", rows, "toy-p1", config=config)
    return tmp_path / "runs"


def test_the_reward_of_the_run_changes_nothing(root: Path) -> None:
    told = text_of(client_of(studio_of(root)).get(PAGE, params={"reward": "label"}).text)
    assert "pairs of one step that swap 0 of 6" in told
    assert "No response changes its place." in told


def test_an_order_that_is_turned_around(root: Path) -> None:
    """All 6 pairs swap; right ones score higher in 4 of 4 pairs before (AUC 1) and in none after (AUC 0)."""
    page = client_of(studio_of(root)).get(PAGE, params={"reward": "ranked"}).text
    told = text_of(page)
    assert "Spearman, old and new -1.000" in told
    assert "Kendall's tau-b -1.000" in told
    assert "pairs of one step that swap 6 of 6 100.0 %" in told
    assert re.search(r"sandbox-sentiment AUC 4 1\.000 \[[^]]*\] 0\.000 \[[^]]*\] -1\.000", told)
    assert "Means along the run steps responses old new right 1 4 1.500 1.500 50.0" in told
    movers = re.findall(r'href="/sample/(\d)/ppo/toy-p1"', page)
    assert set(movers[:2]) == {"0", "3"}  # a and d change three places, b and c one
    assert set(movers) == {"0", "1", "2", "3"}


def test_saturation_of_lambda(root: Path) -> None:
    """Label scores 3, 2, 1, 0: two of four lie at or above 2."""
    asked = {"reward": "min(label, lam)", "lambda": "2"}
    told = text_of(client_of(studio_of(root)).get(PAGE, params=asked).text)
    assert "label RM at or above λ 50.0 %" in told
    assert "at or above λ 1 4 1.500 1.250 50.0 50.0" in told  # new: mean of 2, 2, 1, 0


def test_a_rule_that_nobody_stored_is_computed_from_gold_labels(root: Path) -> None:
    told = text_of(client_of(studio_of(root)).get(PAGE, params={"reward": "rule"}).text)
    assert "Computed here: rule." in told
    assert "old new right 1 4 1.500 0.500 50.0" in told


def test_numbers_are_compared_by_their_distance(root: Path) -> None:
    """Gold 3 on 0-5, answers 3, 2 and 0: the rule gives 2.5, 1.5 and -0.5, mean 7/6; the old score is its opposite."""
    rows = [
        ledger_row(
            1,
            name,
            answer,
            task="sandbox-similarity",
            gold=3.0,
            correct=None,
            error=3.0 - answer,
            response=f"So.\n\n The answer is: {answer}",
            score=-answer,
            parts={"label": 0.0},
        )
        for name, answer in (("a", 3.0), ("b", 2.0), ("c", 0.0))
    ]
    ppo_run(root, rows, "numeric-n1")
    told = text_of(client_of(studio_of(root)).get("/expression/ppo/numeric-n1", params={"reward": "rule"}).text)
    assert re.search(r"sandbox-similarity Spearman 3 -1\.000 \[[^]]*\] 1\.000", told)
    assert "1 3 -1.667 1.167" in told


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"reward": "labl"}, "did you mean label"),
        ({"reward": "rationale"}, "needs the raw scores of rationale"),
        ({"reward": "label +"}, "column"),
        ({"reward": "min(label, lam)"}, "lambda"),
        ({"reward": "min(label, lam)", "lambda": "q75"}, "label"),
    ],
)
def test_what_cannot_be_tried_is_said_beside_the_expression(root: Path, asked: dict[str, str], words: str) -> None:
    answer = client_of(studio_of(root)).get(PAGE, params=asked)
    assert answer.status_code == 200
    assert words in answer.text.partition('class="alarm"')[2].partition("</p>")[0]


def test_a_callable_is_imported_only_when_that_is_allowed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root.parent / "own_reward_of_a_page.py").write_text(
        "def one(examples, responses):\n    return [1.0] * len(responses)\n"
    )
    monkeypatch.syspath_prepend(str(root.parent))
    asked = {"reward": "own_reward_of_a_page:one"}
    assert "--own-code" in client_of(studio_of(root)).get(PAGE, params=asked).text
    import sys

    assert "own_reward_of_a_page" not in sys.modules


def test_of_a_long_run_whole_steps_are_tried_evenly_spread(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 6)
    rows = [ledger_row(step, f"{step}-{number}", "positive") for step in range(1, 11) for number in range(2)]
    ppo_run(root, rows, "long-l1")
    studio = studio_of(root)
    frame = studio.tables.samples(root / "ppo" / "long-l1")
    assert frame is not None
    found = module.samples_of(studio.run("ppo/long-l1"), frame)
    assert [row.step for row in found.rows] == [1, 1, 4, 4, 7, 7]
    assert found.numbers == [0, 1, 6, 7, 12, 13]
    assert (found.steps, found.all_steps) == (3, 10)


def test_a_run_without_scores_has_no_such_page(root: Path) -> None:
    stage_folder(root, "samples", "toy-s1", files={"sampled.jsonl": [{"task": "t", "id": "a", "responses": ["x"]}]})
    client = client_of(studio_of(root))
    assert client.get("/expression/samples/toy-s1").status_code == 404
    assert "try another reward" not in client.get("/run/samples/toy-s1").text
    assert "try another reward" in client.get("/run/ppo/toy-p1").text


def test_markup_in_an_expression_is_shown_as_text(root: Path) -> None:
    page = client_of(studio_of(root)).get(PAGE, params={"reward": "<script>alert(1)</script>", "lambda": '"><b>'}).text
    assert "<script>alert" not in page
    assert '"><b>' not in page
