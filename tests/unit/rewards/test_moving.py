"""Expressions that move while a policy is trained: step, progress, and lambda as a multiplier that holds a mean."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rewardlab.config import RewardConfig
from rewardlab.config_loading import NO_FILE, load_config
from rewardlab.disk import read_jsonl
from rewardlab.errors import ConfigError, ExpressionError
from rewardlab.evaluation.rollout_files import RolloutFile, read_rollouts
from rewardlab.pipeline import Pipeline
from rewardlab.rewards import Lambda, RewardContext, build_reward, parse_lambda, plan_reward
from rewardlab.rewards.moving import Moment, Multiplier, Target
from rewardlab.rewards.rescoring import rescore
from rewardlab.types import Example, Score
from tests.support.training import ppo_trainer

EXAMPLE = Example("agnews", "n1", {"text": "Rovers won."}, "Sports")
SFT_SCORES = {"label": [1.0, 3.0]}
"""Mean 2, deviation 1."""


def letters(examples: Sequence[Example], responses: Sequence[str]) -> list[float]:
    return [len(text) / 3 for text in responses]


def score(expression: str, moment: Moment, lam: str | None = None, **raw: float) -> Score:
    context = RewardContext({name: lambda e, r, v=value: [v] * len(r) for name, value in raw.items()}, SFT_SCORES)
    config = RewardConfig(expression=expression, lam=lam)
    [only] = build_reward(config, context, is_training=True).at(moment)([EXAMPLE], ["x"])
    return only


def test_step_and_progress_have_the_values_of_their_place() -> None:
    found = score("ranked + 0.5 * progress * label - step", Moment(3, 0.25), label=4.0, ranked=1.0)
    assert found.score == 1.0 + 0.5 * 0.25 * 4.0 - 3.0
    assert found.terms == {"ranked": 1.0, "0.5 * progress * label": 0.5, "-(step)": -3.0}
    assert found.parts == {"ranked": 1.0, "label": 4.0, "step": 3.0, "progress": 0.25}


def test_a_multiplier_weighs_the_label_model_and_does_not_cap_it() -> None:
    found = score("mixed", Moment(1, 0.0, multiplier=0.5), lam="auto:5", label=8.0, ranked=1.0)
    assert found.score == 0.5 * 8.0 + 1.0
    assert found.parts == {"label": 8.0, "ranked": 1.0, "lam": 0.5}


def test_a_reward_without_what_moves_is_the_same_everywhere() -> None:
    fixed = build_reward(RewardConfig(expression="min(label, lam)", lam="5"), RewardContext({"label": letters}))
    assert fixed.at(Moment(7, 0.9)) is fixed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("auto:5", Lambda("raw", 5.0, is_target=True)),
        ("AUTO:q75", Lambda("quantile", 75.0, is_target=True)),
        ("5", Lambda("raw", 5.0)),
    ],
)
def test_lambda_is_read(text: str, expected: Lambda) -> None:
    assert parse_lambda(text) == expected


@pytest.mark.parametrize("text", ["auto:", "auto", "5auto:", "auto:q101", "auto:auto:5"])
def test_other_texts_are_no_lambda(text: str) -> None:
    with pytest.raises(ConfigError, match="--lambda"):
        parse_lambda(text)


class TestMultiplier:
    def scores(self, *values: float | None) -> list[Score]:
        return [Score(0.0 if value is not None else None, {"label": value}) for value in values]

    @pytest.mark.parametrize(
        ("scores", "change"),
        [
            ((4.0, 4.0), 0.1 * 0.5),  # the mean is half a spread of 2 below 5
            ((6.0, 8.0), -0.1),  # a whole spread above
            ((1.0, -90.0), 0.1),  # far below: no more than that in one step
            ((5.0,), 0.0),
            ((4.0, None), 0.1 * 0.5),
            ((None, None), 0.0),
        ],
    )
    def test_its_logarithm_moves_toward_the_target(self, scores: tuple[float | None, ...], change: float) -> None:
        multiplier = Multiplier(Target("label", 5.0, 2.0))
        multiplier.update(self.scores(*scores))
        assert math.log(multiplier.value) == pytest.approx(change)

    def test_it_stays_within_bounds(self) -> None:
        multiplier = Multiplier(Target("label", 5.0, 2.0))
        for _ in range(100):
            multiplier.update(self.scores(0.0))
        assert multiplier.value == 100.0
        for _ in range(200):
            multiplier.update(self.scores(10.0))
        assert multiplier.value == 0.01

    def test_without_a_target_it_stays(self) -> None:
        multiplier = Multiplier(None)
        multiplier.update(self.scores(0.0))
        assert multiplier.value == 1.0


class TestInTraining:
    CONFIG = RewardConfig(expression="rule + progress * label + lam * label", lam="auto:q50")

    def train(self, folder: Path, steps: int, **settings: int) -> list[dict[str, Any]]:
        reward = build_reward(self.CONFIG, RewardContext({"label": letters}, SFT_SCORES), is_training=True)
        ppo_trainer(folder, reward, steps=steps, max_unscored=1.0, **settings).train()
        return list(read_jsonl(folder / "run" / "samples.jsonl"))

    def test_each_step_has_its_place_and_the_multiplier_follows_the_scores_of_the_step_before(
        self, tmp_path: Path
    ) -> None:
        rows = self.train(tmp_path, 3)
        value = 1.0
        for step in (1, 2, 3):
            parts = [row["parts"] for row in rows if row["step"] == step]
            assert {each["progress"] for each in parts} == {(step - 1) / 3}
            assert [each["lam"] for each in parts] == pytest.approx([value] * len(parts))
            mean = sum(each["label"] for each in parts) / len(parts)
            value *= math.exp(0.1 * max(-1.0, min(1.0, (2.0 - mean) / 1.0)))
        assert value != 1.0
        logged = list(read_jsonl(tmp_path / "run" / "metrics.jsonl"))
        assert [each["reward/part/progress"] for each in logged] == pytest.approx([0, 1 / 3, 2 / 3])

    def test_a_resume_goes_on_with_the_multiplier(self, tmp_path: Path) -> None:
        straight = self.train(tmp_path / "straight", 4)
        shutil.copytree(tmp_path / "straight" / "model", tmp_path / "cut" / "model")
        asked = [0]

        def failing(examples: Sequence[Example], responses: Sequence[str]) -> list[float]:
            asked[0] += 1
            if asked[0] == 4:
                raise KeyboardInterrupt
            return letters(examples, responses)

        reward = build_reward(self.CONFIG, RewardContext({"label": failing}, SFT_SCORES), is_training=True)
        with pytest.raises(KeyboardInterrupt):
            ppo_trainer(tmp_path / "cut", reward, steps=4, max_unscored=1.0, checkpoint_every=2).train()
        assert self.train(tmp_path / "cut", 4, checkpoint_every=2) == straight

    def test_a_stored_ledger_gives_its_own_scores_again(self, tmp_path: Path) -> None:
        rows = self.train(tmp_path, 2)
        found = rescore(read_rollouts(RolloutFile(tmp_path / "run" / "samples.jsonl")), self.CONFIG, SFT_SCORES)
        assert [each.score for each in found.scores] == [row["score"] for row in rows]

    def test_another_expression_takes_progress_from_the_steps(self, tmp_path: Path) -> None:
        ppo_trainer(tmp_path, lambda example, text: float(len(text)), steps=2).train()
        stored = read_rollouts(RolloutFile(tmp_path / "run" / "samples.jsonl"))
        found = rescore(stored, RewardConfig(expression="function * 0 + progress + 10 * step"))
        assert [each.score for each in found.scores] == [{1: 10.0, 2: 20.5}[row.step] for row in stored]
        with pytest.raises(ConfigError, match=r"has a multiplier.* none stored; give --lambda a number"):
            rescore(stored, RewardConfig(expression="function + lam * label", lam="auto:5"))


class TestElsewhere:
    @pytest.mark.parametrize(("expression", "column"), [("rule + step", 8), ("rule + 2 * progress", 12)])
    def test_what_moves_is_refused_outside_training_with_its_column(self, expression: str, column: int) -> None:
        with pytest.raises(ExpressionError, match=rf"column {column}.* changes while a policy is trained"):
            build_reward(RewardConfig(expression=expression))

    def test_a_multiplier_is_refused_outside_training(self) -> None:
        with pytest.raises(ConfigError, match=r"moves while a policy is trained.* give a number"):
            build_reward(RewardConfig(expression="mixed", lam="auto:5"), RewardContext({"label": letters}, SFT_SCORES))

    def test_a_multiplier_needs_the_scores_that_it_holds(self) -> None:
        with pytest.raises(ConfigError, match=r"holds the mean of label, and reward 'rule \+ lam' does not ask for it"):
            plan_reward(RewardConfig(expression="rule + lam", lam="auto:5"))

    @pytest.mark.parametrize("method", ["raft", "dpo"])
    def test_methods_that_ask_at_no_step_refuse_it_before_anything_runs(self, tmp_path: Path, method: str) -> None:
        pairs = {"dpo.pairs": "sampled"} if method == "dpo" else {}
        config = load_config({"reward.expression": "rule + progress", **pairs}, NO_FILE)
        with pytest.raises(ExpressionError, match="progress changes while a policy is trained"):
            Pipeline(config, tmp_path).train(method)
        assert Pipeline(config, tmp_path).train("grpo").fingerprint
