"""Advantages within groups, by hand and against TRL's own lines, and the means that a loss can be."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rewardlab.errors import ShapeError
from rewardlab.functional.groups import centred_in_groups, group_relative, leave_one_out, returns_to_go
from rewardlab.functional.kl import kl_unbiased
from rewardlab.functional.ppo import mean_over_responses, mean_over_tokens, policy_loss, sum_over_constant

TRL: dict[str, Any] = json.loads((Path(__file__).parents[1] / "recorded" / "trl_groups_1_16_0.json").read_text())
GIVEN = torch.tensor([[math.nan if one is None else one for one in row] for row in TRL["scores"]], dtype=torch.float64)
IS_SCORED = ~GIVEN.isnan()


class TestByHand:
    def test_grpo_is_centred_and_scaled_within_a_group(self) -> None:
        """1, 3, 5 and 7: mean 4, squares 9 + 1 + 1 + 9 over three, deviation 2.581989; another group beside it."""
        scores = torch.tensor([[1.0, 3.0, 5.0, 7.0], [100.0, 101.0, 100.0, 101.0]])
        found = group_relative(scores, scores > 0)
        assert found.values[0].tolist() == pytest.approx([-1.161895, -0.387298, 0.387298, 1.161895], abs=1e-6)
        assert found.values[1].tolist() == pytest.approx([-0.866025, 0.866025, -0.866025, 0.866025], abs=1e-6)
        assert found.is_even.tolist() == [False, False]

    def test_dr_grpo_is_not_scaled(self) -> None:
        scores = torch.tensor([[1.0, 3.0, 5.0, 7.0]])
        assert group_relative(scores, scores > 0, scales=False).values.tolist() == [[-3.0, -1.0, 1.0, 3.0]]

    def test_rloo_is_measured_against_the_others(self) -> None:
        """Of 1, 3 and 8 the others have the means 5.5, 4.5 and 2."""
        scores = torch.tensor([[1.0, 3.0, 8.0]])
        assert leave_one_out(scores, scores > 0).values[0].tolist() == pytest.approx([-4.5, -1.5, 6.0], abs=1e-12)

    def test_what_has_no_score_is_no_part_of_its_group(self) -> None:
        """Of 1, nothing, 3 and 8: mean 4, squares 9 + 1 + 16 over two, deviation 3.605551."""
        scores, is_scored = torch.tensor([[1.0, 99.0, 3.0, 8.0]]), torch.tensor([[True, False, True, True]])
        found = group_relative(scores, is_scored).values[0].tolist()
        assert found == pytest.approx([-3 / 3.605551, 0.0, -1 / 3.605551, 4 / 3.605551], abs=1e-6)
        assert leave_one_out(scores, is_scored).values[0].tolist() == pytest.approx([-4.5, 0.0, -1.5, 6.0], abs=1e-12)
        assert centred_in_groups(scores, is_scored).tolist() == [[-3.0, 0.0, -1.0, 4.0]]

    @pytest.mark.parametrize("score", [0.1, 1e6 + 0.1, -3.0])
    def test_equal_scores_are_even_whatever_rounding_makes_of_their_deviation(self, score: float) -> None:
        scores = torch.full((1, 3), score, dtype=torch.float64)
        for found in (group_relative(scores, scores == scores), leave_one_out(scores, scores == scores)):
            assert found.is_even.tolist() == [True]
            assert found.values.tolist() == [[0.0, 0.0, 0.0]]

    @pytest.mark.parametrize("score", [5.0, -5.0, 0.0])
    def test_equal_scores_are_even_beside_a_response_without_one(self, score: float) -> None:
        scores, is_scored = torch.tensor([[score, 7.0, score]]), torch.tensor([[True, False, True]])
        for found in (group_relative(scores, is_scored), leave_one_out(scores, is_scored)):
            assert (found.is_even.tolist(), found.values.tolist()) == ([True], [[0.0, 0.0, 0.0]])

    def test_nearly_equal_scores_are_not(self) -> None:
        scores = torch.tensor([[1.0, 1.0 + 1e-9]], dtype=torch.float64)
        found = group_relative(scores, scores > 0)
        assert found.is_even.tolist() == [False]
        assert found.values[0].tolist() == pytest.approx([-(0.5**0.5), 0.5**0.5], abs=1e-6)

    def test_one_score_or_none_is_even(self) -> None:
        scores, is_scored = torch.tensor([[5.0, 7.0], [5.0, 7.0]]), torch.tensor([[True, False], [False, False]])
        assert group_relative(scores, is_scored).is_even.tolist() == [True, True]
        assert leave_one_out(scores, is_scored).values.tolist() == [[0.0, 0.0], [0.0, 0.0]]

    def test_returns_are_what_is_still_to_come(self) -> None:
        rewards, keep = (
            torch.tensor([[1.0, -2.0, 4.0], [3.0, 5.0, 99.0]]),
            torch.tensor([[True] * 3, [True, True, False]]),
        )
        assert returns_to_go(rewards, keep).tolist() == [[3.0, 2.0, 4.0], [8.0, 5.0, 0.0]]

    @pytest.mark.parametrize("scores", [torch.zeros(4), torch.zeros(2, 3)])
    def test_other_shapes_are_refused(self, scores: Tensor) -> None:
        with pytest.raises(ShapeError, match=r"expected \(P, G\) twice"):
            group_relative(scores, torch.ones(2, 2, dtype=torch.bool) if scores.dim() == 2 else scores > -1)


class TestAgainstTRL:
    """TRL adds 1e-4 to the deviation; even groups are 0 in both."""

    @pytest.mark.parametrize(("name", "scales"), [("grpo", True), ("dr_grpo", False)])
    def test_group_relative(self, name: str, scales: bool) -> None:
        found = group_relative(GIVEN, IS_SCORED, scales=scales).values.flatten()
        expected = torch.tensor(TRL["advantages"][name], dtype=torch.float64)
        torch.testing.assert_close(found, expected, rtol=3e-4 if scales else 1e-12, atol=1e-12)

    def test_leave_one_out(self) -> None:
        expected = torch.tensor(TRL["advantages"]["rloo"], dtype=torch.float64)
        torch.testing.assert_close(leave_one_out(GIVEN, IS_SCORED).values.flatten(), expected, rtol=1e-12, atol=1e-12)

    @pytest.mark.parametrize("kind", ["grpo", "bnpo", "dr_grpo"])
    def test_the_loss_with_the_kl_in_it_and_its_gradient(self, kind: str) -> None:
        """Two micro-batches: the mean is that of the whole. Weights of responses are float32."""
        given = {name: torch.tensor(rows, dtype=torch.float64) for name, rows in TRL["losses"]["inputs"].items()}
        new = (given["old"] + given["drift"]).requires_grad_()
        keep = torch.arange(new.shape[1])[None] < torch.tensor(TRL["lengths"])[:, None]
        counts = [keep[:3], keep[3:]]
        weighting = {
            "grpo": mean_over_responses,
            "bnpo": mean_over_tokens,
            "dr_grpo": lambda parts: sum_over_constant(parts, TRL["longest"]),
        }[kind](counts)
        total = torch.tensor(0.0, dtype=torch.float64)
        for rows, weights in zip((slice(0, 3), slice(3, None)), weighting.weights, strict=True):
            old, reference, count = given["old"][rows], given["reference"][rows], weighting.count
            advantages = given["advantages"][rows, None].expand_as(old)
            settings: dict[str, Any] = {"clip": TRL["clip"], "count": count, "weights": weights}
            total = total + policy_loss(new[rows], old, advantages, keep[rows], **settings).loss
            total = total + TRL["beta"] * (kl_unbiased(new[rows], old, reference) * weights).sum() / count
        total.backward()
        expected = TRL["losses"][kind]
        assert float(total.detach()) == pytest.approx(expected["loss"], abs=1e-7)
        gradient = torch.tensor(expected["gradient"], dtype=torch.float64)
        torch.testing.assert_close(new.grad * keep, gradient, rtol=0, atol=1e-7)


def test_the_unbiased_kl_has_the_gradient_of_the_kl_on_and_off_policy() -> None:
    """Over a vocabulary of four, in expectation under the policy that sampled; k3 by itself has another gradient."""
    logits = torch.tensor([0.3, -0.7, 1.1, 0.0], dtype=torch.float64, requires_grad=True)
    reference = torch.log_softmax(torch.tensor([1.0, 0.2, -0.5, 0.4], dtype=torch.float64), 0)
    for sampled in (logits.detach(), torch.tensor([0.0, 0.5, 0.0, -1.0], dtype=torch.float64)):
        new, old = torch.log_softmax(logits, 0), torch.log_softmax(sampled, 0)
        exact = (new.exp() * (new - reference)).sum()
        estimate = (old.exp() * kl_unbiased(new, old, reference)).sum()
        assert float(estimate.detach()) == pytest.approx(float(exact.detach()), abs=1e-12)
        [wanted] = torch.autograd.grad(exact, logits, retain_graph=True)
        [found] = torch.autograd.grad(estimate, logits)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
        assert float(wanted.abs().max()) > 0.1


class TestMeans:
    """Two chunks: responses of 2 and 3 counted tokens, then one of 1 and one that does not count at all."""

    COUNTS = (
        torch.tensor([[True, True, False], [True, True, True]]),
        torch.tensor([[False, True, False], [False, False, False]]),
    )

    def test_over_tokens(self) -> None:
        found = mean_over_tokens(self.COUNTS)
        assert found.count == 6
        assert [weights.tolist() for weights in found.weights] == [counts.tolist() for counts in self.COUNTS]

    def test_over_responses(self) -> None:
        found = mean_over_responses(self.COUNTS)
        assert found.count == 3
        assert found.weights[0].tolist() == [[0.5, 0.5, 0.0], pytest.approx([1 / 3] * 3)]
        assert found.weights[1].tolist() == [[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]

    def test_over_a_constant_length(self) -> None:
        assert sum_over_constant(self.COUNTS, 10).count == 30
