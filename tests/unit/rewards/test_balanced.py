"""``rule_balanced``: weights by hand and against scikit-learn, and every place that knows the shares of labels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

import rewardlab as rl
from rewardlab.config import RewardConfig
from rewardlab.errors import ConfigError
from rewardlab.rewards import RewardContext, as_trl_reward, build_reward, label_shares
from rewardlab.rewards.balanced import balanced_weight
from rewardlab.rewards.rescoring import StoredResponse, rescore
from rewardlab.types import Example, Score
from tests.support.commands import Command

CONFIG = RewardConfig(expression="rule_balanced")


def review(place: int, label: str, task: str = "mr") -> Example:
    return Example(task, f"{task}-{place}", {}, label, "label")


PROMPTS = [review(place, "negative" if place == 0 else "positive") for place in range(4)]
"""One negative prompt to three positive ones: weights 1 / (2 * 1/4) = 2 and 1 / (2 * 3/4) = 2/3."""


def scored(responses: list[str], prompts: list[Example] = PROMPTS) -> list[Score]:
    return build_reward(CONFIG, RewardContext(label_shares=label_shares(prompts)))(prompts[: len(responses)], responses)


def test_right_wrong_and_malformed_weigh_as_their_gold_label() -> None:
    assert [s.score for s in scored(["negative", "positive", "negative", "?"])] == pytest.approx([2, 2 / 3, 0, -2 / 3])
    assert scored(["?"])[0].score == -2.0
    assert scored(["negative"])[0].parts == {"rule_balanced": 2.0}


def test_weights_have_a_mean_of_one_over_the_prompts() -> None:
    right = [str(row.label) for row in PROMPTS]
    assert sum(s.score or 0.0 for s in scored(right)) / len(right) == pytest.approx(1.0)


def test_weights_are_those_of_scikit_learn() -> None:
    labels = ["a"] * 5 + ["b"] * 2 + ["c"]
    shares = label_shares(review(place, label) for place, label in enumerate(labels))["mr"]
    theirs = compute_class_weight("balanced", classes=np.array(["a", "b", "c"]), y=labels)
    assert [balanced_weight(shares, label) for label in "abc"] == pytest.approx(theirs)


def test_a_label_that_no_prompt_has_weighs_as_the_rarest() -> None:
    assert balanced_weight({"a": 0.75, "b": 0.25}, "c") == balanced_weight({"a": 0.75, "b": 0.25}, "b") == 2.0


def test_shares_are_of_each_task_and_count_a_prompt_once() -> None:
    rows = [
        *PROMPTS,
        *PROMPTS[:1],
        review(0, "positive", "sst2"),
        Example("stsb", "1", {}, 2.5),
        Example("mr", "9", {}),
    ]
    assert label_shares(rows) == {"mr": {"negative": 0.25, "positive": 0.75}, "sst2": {"positive": 1.0}}


def test_numbers_are_scored_as_the_rule_scores_them() -> None:
    row = Example("stsb", "1", {}, 3.0, "label")
    assert build_reward(CONFIG)([row], ["2"])[0].score == 1.5


def test_unknown_shares_are_no_equal_shares() -> None:
    with pytest.raises(ConfigError, match="task mr are not known"):
        build_reward(CONFIG)(PROMPTS[:1], ["negative"])
    with pytest.raises(ConfigError, match="give label_shares"):
        as_trl_reward("rule_balanced", "mr")


def test_trl_is_given_the_shares() -> None:
    func = as_trl_reward("rule_balanced", "mr", "label", label_shares={"negative": 0.25, "positive": 0.75})
    assert func(["p"], ["negative"], label=["negative"]) == [2.0]


def test_rl_score_takes_them_from_the_rows_it_is_given() -> None:
    found = rl.score("rule_balanced", "mr", ["negative"] * 4, [str(row.label) for row in PROMPTS], format="label")
    assert [score.score for score in found] == [2.0, 0.0, 0.0, 0.0]


def test_stored_responses_are_the_prompts() -> None:
    rows = [StoredResponse(1, row, "negative", {}, 0.0) for row in PROMPTS]
    assert [score.score for score in rescore(rows, CONFIG).scores] == [2.0, 0.0, 0.0, 0.0]


def test_the_command_reads_the_whole_file_first(rewardlab: Command, tmp_path: Path) -> None:
    """Weights of the first of many rows depend on the last: batches of 512 would give others."""
    rows = [{"response": "positive", "label": "positive"}] * 600 + [{"response": "negative", "label": "negative"}] * 200
    file, out = tmp_path / "answers.jsonl", tmp_path / "scores.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    asked = ("--task", "mr", "--format", "label", "--reward", "rule_balanced")
    assert rewardlab("reward", "score", *asked, "--input", str(file), "--output", str(out)).code == 0
    scores = [json.loads(line)["score"] for line in out.read_text(encoding="utf-8").splitlines()]
    assert (scores[0], scores[-1]) == pytest.approx((2 / 3, 2.0))
