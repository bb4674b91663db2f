"""What PPO makes of a reward's scores: centred, scaled, clipped; and what it says when that leaves nothing."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from rewardlab.config import PPOConfig
from rewardlab.disk import read_jsonl
from rewardlab.models.sampler import Sample
from rewardlab.rewards.ledger import Shaped
from rewardlab.training.advantages import gae_targets
from rewardlab.training.rollout import Rollout, SampledChunk
from rewardlab.training.shaping import ScoreScale, shape, used_score_metrics
from rewardlab.training.streaks import PATIENCE, Streaks
from rewardlab.types import Example
from tests.support.training import ppo_trainer

ONE_TOKEN = 2
"""Width of the prompt of the responses made here, which have two tokens each."""


def rollout(responses: int, cut: Sequence[int] = ()) -> Rollout:
    """Responses of two tokens under a policy that is its reference, critic at 0; those in ``cut`` did not end."""
    keep = torch.ones(responses, ONE_TOKEN + 2, dtype=torch.bool)
    nothing = torch.zeros(responses, 2)
    ids = torch.zeros_like(keep, dtype=torch.long)
    chunk = SampledChunk(list(range(responses)), ids, keep, ONE_TOKEN, nothing, nothing, nothing, nothing.clone())
    return Rollout([], [Sample((1, 2), "x", row not in cut) for row in range(responses)], [chunk])


def used(scores: Sequence[float | None], scale: ScoreScale | None = None, **settings: object) -> list[float | None]:
    """The scores as PPO uses them."""
    config = PPOConfig.model_validate({"missing_end_penalty": 0.0, **settings})
    scale = scale or ScoreScale()
    scale.update([score for score in scores if score is not None])
    shaped = shape(scores, rollout(len(scores)), config, scale, 0.0).shaped
    return [None if one is None else one.score for one in shaped]


def test_scores_are_centred_and_scaled() -> None:
    """Mean 2.5; squares 1.5^2 + 1.5^2 over one degree of freedom, so the deviation is 2.1213."""
    assert used([1.0, 4.0]) == pytest.approx([-1.5 / 2.121320, 1.5 / 2.121320], abs=1e-6)


@pytest.mark.parametrize("added", [0.0, 100.0, -60.0])
def test_a_constant_added_to_the_reward_changes_nothing(added: float) -> None:
    """0, 1, -1, 2: mean 0.5, squares 0.25 + 0.25 + 2.25 + 2.25 = 5 over 3, deviation 1.2910."""
    expected = [-0.387298, 0.387298, -1.161895, 1.161895]
    assert used([score + added for score in (0.0, 1.0, -1.0, 2.0)]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("scores", "settings"),
    [
        ([5.3, 4.7, 5.1, 4.9], {}),  # RLLR's label reward model: near 5, deviation 0.3
        ([57.0, 63.0, 60.0, 58.0], {}),
        ([20.0, 80.0, 50.0, 95.0], {"normalise_scores": False}),  # a judge's 0 to 100
        ([20.0, 80.0, 50.0, 95.0], {"normalise_scores": False, "score_clip": None}),
        ([100.0, 101.0, 99.0, 102.0], {}),
    ],
)
def test_responses_of_different_scores_have_different_advantages(
    scores: list[float], settings: dict[str, object]
) -> None:
    """They used to be divided by the deviation and clipped at 10, which made all of these one number."""
    made = rollout(4)
    config = PPOConfig.model_validate({"missing_end_penalty": 0.0, **settings})
    scale = ScoreScale()
    scale.update(scores)
    last = gae_targets(made, shape(scores, made, config, scale, 0.0), config).targets[0].advantages[:, -1].tolist()
    order = sorted(range(4), key=scores.__getitem__)
    assert sorted(range(4), key=last.__getitem__) == order
    assert min(last[high] - last[low] for low, high in pairwise(order)) > 0.1


def test_the_mean_is_that_of_the_whole_run_and_the_batch_is_part_of_it() -> None:
    """0 and 2, then 4 and 6: mean 3, squares 9 + 1 + 1 + 9 = 20 over 3, deviation 2.5820."""
    scale = ScoreScale()
    assert used([0.0, 2.0], scale) == pytest.approx([-math.sqrt(0.5), math.sqrt(0.5)], abs=1e-9)
    assert used([4.0, 6.0], scale) == pytest.approx([1 / 2.581989, 3 / 2.581989], abs=1e-6)


def test_a_resumed_scale_goes_on_from_its_mean() -> None:
    first, second = ScoreScale(), ScoreScale()
    used([0.0, 2.0], first)
    second.restore(first.state())
    assert used([4.0, 6.0], second) == used([4.0, 6.0], first)


def test_a_scale_that_has_seen_nothing_leaves_scores_as_they_are() -> None:
    scale = ScoreScale()
    assert scale.state() == {"count": 0, "mean": 0.0, "squares": 0.0}
    assert scale.deviation == 1.0
    assert scale.used(3.0, PPOConfig(score_clip=None)).value == 3.0


def test_scores_that_do_not_differ_have_deviation_1() -> None:
    scale = ScoreScale()
    scale.update([3.0])
    assert scale.deviation == 1.0
    scale.update([3.0])
    assert scale.deviation == 1.0


def test_a_response_without_a_score_receives_only_its_penalty() -> None:
    made, config = rollout(2, cut=[0]), PPOConfig(missing_end_penalty=3.0)
    scale = ScoreScale()
    scale.update([5.0])
    shaping = shape([None, 5.0], made, config, scale, 0.0)
    assert [rewards.tolist() for rewards in shaping.rewards] == [[[0.0, -3.0], [0.0, 0.0]]]
    assert shaping.shaped == [None, Shaped(0.0, 0.0, -0.0, 0.0)]
    assert [counts.tolist() for counts in shaping.counts] == [[[False, False], [True, True]]]


def test_what_was_not_scored_is_no_part_of_the_mean() -> None:
    assert used([1.0, None, 4.0]) == pytest.approx([-1.5 / 2.121320, None, 1.5 / 2.121320], abs=1e-6)


@pytest.mark.parametrize("scores", [[3.0], [0.0, 0.0], [3.0, 3.0, 3.0], [60.0, 60.000004, 60.0]])
def test_equal_scores_are_all_at_the_centre(scores: list[float]) -> None:
    """The last differ in a float32's last digit: divided by their own deviation they would be noise of size 1."""
    assert used(scores) == pytest.approx([0.0] * len(scores), abs=1e-5)


class TestClip:
    """Of 0, 0, 0, 0, 10 the mean is 2, the deviation sqrt((4 * 4 + 64) / 4) = 4.4721; 10 lies at 1.7889 of them."""

    SCORES = (0.0, 0.0, 0.0, 0.0, 10.0)

    def test_it_comes_after_centring(self) -> None:
        assert used(self.SCORES, score_clip=1.0) == pytest.approx([-2 / 4.472136] * 4 + [1.0], abs=1e-6)

    def test_without_normalisation_it_is_in_deviations_too(self) -> None:
        found = used(self.SCORES, score_clip=1.0, normalise_scores=False)
        assert found == pytest.approx([0.0] * 4 + [2 + 4.472136], abs=1e-6)

    def test_a_score_within_it_is_untouched_without_normalisation(self) -> None:
        assert used(self.SCORES, score_clip=1.8, normalise_scores=False) == list(self.SCORES)

    def test_none_turns_it_off(self) -> None:
        assert used(self.SCORES, score_clip=None)[-1] == pytest.approx(8 / 4.472136, abs=1e-6)

    def test_low_scores_are_clipped_as_well(self) -> None:
        assert used([-score for score in self.SCORES], score_clip=1.0)[-1] == -1.0

    def test_the_penalty_of_a_cut_response_is_subtracted_after_it(self) -> None:
        config = PPOConfig(score_clip=1.0, missing_end_penalty=3.0)
        scale = ScoreScale()
        scale.update(self.SCORES)
        shaping = shape(self.SCORES, rollout(5, cut=[0, 4]), config, scale, 0.0)
        shaped, [rewards] = shaping.shaped, shaping.rewards
        assert rewards[:, -1].tolist() == pytest.approx([-0.447214 - 3, *[-0.447214] * 3, 1.0 - 3], abs=1e-5)
        assert shaped[4] == Shaped(-2.0, 1.0, -0.0, -3.0, is_clipped=True)


def test_metrics_are_of_the_scores_as_used() -> None:
    """Deviation over the batch: of 1, 1 and 4 it is sqrt(2); the unscored response is left out."""
    shaped = [Shaped(0, 1.0, 0, 0), None, Shaped(0, 1.0, 0, 0, is_clipped=True), Shaped(0, 4.0, 0, 0, is_clipped=True)]
    assert used_score_metrics(shaped) == pytest.approx({"reward/used_deviation": 2**0.5, "reward/clip_share": 2 / 3})
    assert used_score_metrics([None, None]) == {}


def letters(example: Example, response: str) -> float:
    return 50.0 + sum(character.isalpha() for character in response)


def test_scores_made_equal_are_warned_of_once_and_at_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        ppo_trainer(tmp_path, letters, steps=3, score_clip=1e-6).train()
    rows = list(read_jsonl(tmp_path / "run" / "metrics.jsonl"))
    assert all(row["reward/deviation"] > 0.5 and row["reward/used_deviation"] < 1e-5 for row in rows)
    assert all(row["reward/clip_share"] == 1.0 for row in rows)
    [said] = [message for message in caplog.messages if "reward/used_deviation" in message]
    assert said.startswith("in steps 1 to 1 reward/used_deviation was next to 0 although the raw scores differ")


def test_the_usual_settings_use_all_scores(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        ppo_trainer(tmp_path, letters, steps=2).train()
    rows = list(read_jsonl(tmp_path / "run" / "metrics.jsonl"))
    assert all(0.5 < row["reward/used_deviation"] < 2 and row["reward/clip_share"] == 0.0 for row in rows)
    assert not [message for message in caplog.messages if "reward/used_deviation" in message]


def seen(raw: float, as_used: float) -> Mapping[str, float]:
    return {"reward/deviation": raw, "reward/used_deviation": as_used}


class TestWarning:
    def test_it_is_not_repeated_after_good_steps_or_a_resume(self, caplog: pytest.LogCaptureFixture) -> None:
        streaks = Streaks()
        for step, metrics in enumerate([seen(0.3, 1.0), seen(0.3, 0.0), seen(0.3, 1.0), seen(0.3, 0.0)], 1):
            streaks.add(step, metrics)
        resumed = Streaks()
        resumed.restore(streaks.state())
        resumed.add(5, seen(0.3, 0.0))
        assert [message[:39] for message in caplog.messages] == ["in steps 2 to 2 reward/used_deviation w"]

    @pytest.mark.parametrize(
        ("kl", "said"), [(-0.1, ["in steps 1 to 10 policy/kl was negative"]), (0.0, []), (0.5, [])]
    )
    def test_a_negative_kl_that_lasts_is_told(
        self, caplog: pytest.LogCaptureFixture, kl: float, said: list[str]
    ) -> None:
        streaks = Streaks()
        for step in range(1, 13):
            streaks.add(step, {"policy/kl": kl})
        assert [message[:39] for message in caplog.messages] == said

    def test_scores_that_differ_enough_to_be_learned_from_are_not_told_of(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        streaks = Streaks()
        streaks.add(1, seen(0.3, 1e-4))
        streaks.add(2, {"reward/used_deviation": 0.0})
        assert caplog.messages == []

    def test_a_sign_that_a_checkpoint_does_not_know_has_not_lasted(self) -> None:
        streaks = Streaks()
        streaks.restore({})
        assert streaks.state() == {"policy/kl": 0, "reward/deviation": 0, "reward/used_deviation": 0}

    def test_a_reward_that_tells_nothing_apart_is_another_matter(self, caplog: pytest.LogCaptureFixture) -> None:
        streaks = Streaks()
        for step in range(1, PATIENCE + 1):
            streaks.add(step, seen(0.0, 0.0))
        assert [message[:33] for message in caplog.messages] == ["in steps 1 to 10 reward/deviation"]
