"""Masks, KL, GAE and losses against numbers worked by hand and against the papers' formulas written as loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from rewardlab.errors import ShapeError
from rewardlab.functional.gae import gae
from rewardlab.functional.kl import entropy, kl_k1, kl_k2, kl_k3, token_logprobs
from rewardlab.functional.masking import masked_mean, masked_variance, positions_from_keep, whiten
from rewardlab.functional.ppo import explained_variance, policy_loss, value_loss
from rewardlab.functional.preference import preference_loss
from tests.support import slow

ALL = torch.ones(1, 3, dtype=torch.bool)


def row(*numbers: float) -> Tensor:
    return torch.tensor([numbers], dtype=torch.float64)


def close(found: Tensor, *expected: float) -> None:
    torch.testing.assert_close(found.flatten().double(), torch.tensor(expected).double(), atol=1e-6, rtol=0)


def test_positions_count_kept_tokens_from_zero() -> None:
    keep = torch.tensor([[False, False, True, True], [True, True, True, False]])
    assert positions_from_keep(keep).tolist() == [[0, 0, 0, 1], [0, 1, 2, 2]]


def test_mean_and_variance_over_kept_positions() -> None:
    values, keep = torch.tensor([1.0, 4.0, 100.0]), torch.tensor([True, True, False])
    assert masked_mean(values, keep).item() == 2.5
    assert masked_variance(values, keep).item() == 4.5  # (1.5^2 + 1.5^2) / (2 - 1)
    assert masked_variance(torch.tensor([7.0, 1.0]), torch.tensor([True, False])).item() == 0.0


def test_statistics_of_nothing_are_refused() -> None:
    with pytest.raises(ShapeError, match="nothing is kept"):
        masked_mean(torch.ones(2), torch.zeros(2, dtype=torch.bool))
    with pytest.raises(ShapeError, match="must be equal"):
        whiten(torch.ones(2), torch.ones(3, dtype=torch.bool))


def test_shapes_that_differ_are_refused() -> None:
    for function in (masked_mean, masked_variance, whiten):
        with pytest.raises(ShapeError, match="must be equal"):
            function(torch.ones(2), torch.zeros(3, dtype=torch.bool))


def test_equal_values_are_whitened_to_nothing() -> None:
    close(whiten(torch.full((1, 3), 2.0), ALL), 0.0, 0.0, 0.0)


def test_whitening_shifts_and_scales() -> None:
    values, keep = torch.tensor([[1.0, 3.0, 50.0]]), torch.tensor([[True, True, False]])
    # mean 2, variance 2, deviation 1.414214
    close(whiten(values, keep), -0.707107, 0.707107, 0.0)
    close(whiten(values, keep, shift=False), 1.292893, 2.707107, 0.0)


def test_whitening_fewer_than_two_values_leaves_them() -> None:
    values = torch.tensor([3.0, 5.0])
    assert whiten(values, torch.tensor([True, False])).tolist() == [3.0, 0.0]
    assert whiten(values, torch.tensor([False, False])).tolist() == [0.0, 0.0]


def test_gae_by_hand() -> None:
    estimate = gae(row(1, 0, 2), row(0.5, 1, -1), ALL, gamma=0.5, trace=0.8)
    # errors from the end: 2 + 0 + 1 = 3; 0 - 0.5 - 1 = -1.5; 1 + 0.5 - 0.5 = 1; decay 0.5 * 0.8 = 0.4
    # advantages: 3; -1.5 + 0.4 * 3 = -0.3; 1 + 0.4 * -0.3 = 0.88
    close(estimate.advantages, 0.88, -0.3, 3.0)
    close(estimate.returns, 1.38, 0.7, 2.0)


def test_gae_does_not_discount_and_decays_by_0_95_unless_told_otherwise() -> None:
    close(gae(row(0, 0, 1), row(0, 0, 0), ALL).advantages, 0.95**2, 0.95, 1.0)
    close(gae(row(0, 0, 0), row(0, 0, 1), ALL, trace=0.0).advantages, 0.0, 1.0, -1.0)


def test_gae_treats_the_last_kept_token_as_the_end() -> None:
    keep = torch.tensor([[True, True, False]])
    estimate = gae(row(1, 2, 40), row(1, 1, 90), keep, gamma=1.0, trace=0.5)
    # errors: 1 + 1 - 1 = 1; 2 - 1 = 1; advantages: 1 + 0.5 * 1 = 1.5; 1
    close(estimate.advantages, 1.5, 1.0, 0.0)
    close(estimate.returns, 2.5, 2.0, 0.0)


@pytest.mark.parametrize(("gamma", "trace"), [(1.0, 0.95), (0.9, 0.5), (1.0, 1.0), (0.7, 0.0)])
def test_gae_equals_the_slow_loop(gamma: float, trace: float) -> None:
    generator = torch.Generator().manual_seed(0)
    rewards, values = torch.randn(2, 4, 7, generator=generator, dtype=torch.float64)
    lengths = [7, 1, 4, 6]
    keep = torch.arange(7)[None] < torch.tensor(lengths)[:, None]
    found = gae(rewards, values, keep, gamma=gamma, trace=trace)
    for index, length in enumerate(lengths):
        expected = slow.advantages(rewards[index, :length].tolist(), values[index, :length].tolist(), gamma, trace)
        close(found.advantages[index], *expected, *[0.0] * (7 - length))


def test_gae_refuses_shapes_that_differ() -> None:
    with pytest.raises(ShapeError, match=r"rewards \(1, 3\), values \(1, 2\), keep \(1, 3\)"):
        gae(row(1, 2, 3), row(1, 2), ALL)


def test_kl_estimators_by_hand() -> None:
    policy, reference = row(math.log(0.5)), row(math.log(0.25))  # log ratio ln 2 = 0.693147
    close(kl_k1(policy, reference), 0.693147)
    close(kl_k2(policy, reference), 0.240227)  # 0.693147^2 / 2
    close(kl_k3(policy, reference), 0.193147)  # 1/2 - 1 + ln 2
    close(kl_k1(reference, policy), -0.693147)
    close(kl_k3(reference, policy), 0.306853)  # 2 - 1 - ln 2


def test_k1_and_k3_average_to_the_divergence() -> None:
    p, q = slow.softmax([0.3, -1.0, 2.0]), slow.softmax([1.0, 0.0, 0.5])
    exact = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    weights, new, old = torch.tensor(p), torch.tensor(p).log(), torch.tensor(q).log()
    close((weights * kl_k1(new, old)).sum(), exact)
    close((weights * kl_k3(new, old)).sum(), exact)


def test_entropy_of_equal_logits_is_ln_v() -> None:
    close(entropy(torch.full((2, 7), 3.0)), math.log(7), math.log(7))
    # probabilities 1/4 and 3/4: 0.25 * ln 4 + 0.75 * ln(4/3) = 0.346574 + 0.215762
    close(entropy(torch.tensor([0.0, math.log(3)])), 0.562335)


def test_token_logprobs_divide_by_the_temperature() -> None:
    logits = torch.tensor([[0.0, math.log(9.0)], [0.0, math.log(9.0)]])
    tokens = torch.tensor([1, 0])
    close(token_logprobs(logits, tokens), math.log(0.9), math.log(0.1))
    close(token_logprobs(logits, tokens, 2.0), math.log(0.75), math.log(0.25))  # ln 9 / 2 = ln 3
    close(token_logprobs(logits[0], tokens[0]), math.log(0.9))


def test_token_logprobs_compute_in_float32() -> None:
    logits = torch.tensor([[10.0, 10.0625]], dtype=torch.bfloat16)
    found = token_logprobs(logits, torch.tensor([1]))
    assert found.dtype is torch.float32
    close(found, -math.log(1 + math.exp(-0.0625)))


NEW = row(math.log(1.5), math.log(1.5), math.log(0.5), math.log(0.5), math.log(1.1))
GAINS = row(2, -2, 2, -2, 3)


def test_policy_loss_clips_only_what_would_go_further() -> None:
    keep = torch.ones(1, 5, dtype=torch.bool)
    new = NEW.clone().requires_grad_()
    outcome = policy_loss(new, torch.zeros_like(new), GAINS, keep, clip=0.2, count=5)
    # 1.5 up is cut to 1.2: 2.4; 1.5 down stays: -3; 0.5 up stays: 1; 0.5 down is cut to 0.8: -1.6; 1.1 * 3 = 3.3
    assert outcome.loss.item() == pytest.approx(-(2.4 - 3 + 1 - 1.6 + 3.3) / 5, abs=1e-9)
    assert outcome.clipped.item() == 2
    close(outcome.ratio, 1.5, 1.5, 0.5, 0.5, 1.1)
    outcome.loss.backward()  # derivative of ratio * advantage is itself; 0 where cut
    assert new.grad is not None
    close(new.grad, 0.0, 3 / 5, -1 / 5, 0.0, -3.3 / 5)


def test_policy_loss_equals_the_slow_formula_element_by_element() -> None:
    terms = slow.clipped_objective(NEW[0].tolist(), [0.0] * 5, GAINS[0].tolist(), 0.2)
    for place in range(5):
        keep = torch.zeros(1, 5, dtype=torch.bool)
        keep[0, place] = True
        outcome = policy_loss(NEW, torch.zeros_like(NEW), GAINS, keep, clip=0.2, count=1)
        assert outcome.loss.item() == pytest.approx(-terms[place], abs=1e-9)
        assert outcome.ratio[~keep].tolist() == [1.0] * 4


def test_losses_are_divided_by_the_callers_count() -> None:
    zero, one, keep = row(0), row(1), torch.ones(1, 1, dtype=torch.bool)
    assert policy_loss(zero, zero, one, keep, clip=0.2, count=8).loss.item() == -0.125
    assert value_loss(zero, zero, one, keep, clip=0.2, count=8).loss.item() == 0.0625


def test_values_inside_the_range_are_not_clipped_by_rounding() -> None:
    """In float32, 0.1 + (value - 0.1) misses a small value by a little: half of such tokens counted as clipped."""
    torch.manual_seed(0)
    old = torch.full((1, 1000), 0.1)
    values, keep = torch.rand(1, 1000) * 0.01, torch.ones(1, 1000, dtype=torch.bool)
    assert int(value_loss(values, old, torch.zeros(1, 1000), keep, clip=0.2, count=1000).clipped) == 0


def test_value_loss_takes_the_larger_error() -> None:
    values = row(0.3, 3.0, 3.0).requires_grad_()
    outcome = value_loss(values, row(0, 0, 0), row(1, 4, 0), ALL, clip=0.5, count=3)
    # 0.3 is within the clip: 0.7^2 = 0.49; 3 is cut to 0.5: max(1, 3.5^2 = 12.25); free error wins: max(9, 0.25)
    assert outcome.loss.item() == pytest.approx(0.5 * (0.49 + 12.25 + 9) / 3, abs=1e-9)
    assert outcome.clipped.item() == 1
    outcome.loss.backward()
    assert values.grad is not None
    close(values.grad, -0.7 / 3, 0.0, 3.0 / 3)


def test_clipped_values_are_counted() -> None:
    """Three predictions cut at 0.5 that were right, one that was not cut."""
    keep = torch.ones(1, 4, dtype=torch.bool)
    outcome = value_loss(row(3, 3, 3, 0), torch.zeros(1, 4), row(3, 3, 3, 0), keep, clip=0.5, count=4)
    assert outcome.clipped.item() == 3
    assert outcome.loss.item() == pytest.approx(0.5 * 3 * 2.5**2 / 4)


def test_a_single_return_does_not_vary() -> None:
    assert explained_variance(row(1), row(2), torch.ones(1, 1, dtype=torch.bool)) == 0.0


def test_explained_variance() -> None:
    returns = row(1, 2, 3)
    assert explained_variance(returns, returns, ALL) == 1.0
    assert explained_variance(row(5, 5, 5), returns, ALL) == pytest.approx(0.0)
    # errors 0, 1, 2 have variance 1, returns have variance 1
    assert explained_variance(row(1, 1, 1), returns, ALL) == pytest.approx(0.0)
    assert explained_variance(row(3, 2, 1), returns, ALL) == pytest.approx(-3.0)  # errors -2, 0, 2: variance 4
    # errors 0, 1, 2 of variance 1, returns of variance 4
    assert explained_variance(row(0, 1, 2), row(0, 2, 4), ALL) == pytest.approx(0.75)
    assert explained_variance(row(1, 2, 99), returns, torch.tensor([[True, True, False]])) == 1.0
    assert explained_variance(row(0, 0, 0), row(2, 2, 2), ALL) == 0.0


def test_preference_loss_by_hand() -> None:
    # -ln sigmoid(2) = ln(1 + e^-2) = 0.126928; -ln sigmoid(-1) = ln(1 + e) = 1.313262
    close(preference_loss(torch.tensor([2.0, 0.0]), torch.tensor([0.0, 1.0])), (0.126928 + 1.313262) / 2)
    close(preference_loss(torch.tensor([4.0]), torch.tensor([4.0])), math.log(2))
    close(preference_loss(torch.tensor([3.0]), torch.tensor([0.0]), margin=1.0), 0.126928)


def test_preference_loss_refuses_what_does_not_pair() -> None:
    with pytest.raises(ShapeError, match="not empty"):
        preference_loss(torch.empty(0), torch.empty(0))
    with pytest.raises(ShapeError, match=r"chosen \(2,\) and rejected \(1,\)"):
        preference_loss(torch.ones(2), torch.ones(1))
