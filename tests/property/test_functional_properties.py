"""Laws of the PPO arithmetic, whatever the numbers and however long the rows are."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rewardlab.functional.gae import gae
from rewardlab.functional.kl import kl_k2, kl_k3
from rewardlab.functional.masking import masked_mean, masked_variance, whiten
from rewardlab.functional.ppo import policy_loss, value_loss
from rewardlab.functional.preference import preference_loss
from tests.support import slow

few = settings(max_examples=50)

unit = st.floats(0, 1)
number = st.floats(-10, 10)


@st.composite
def batches(draw: st.DrawFn, count: int) -> tuple[list[Tensor], Tensor]:
    """``count`` tensors (B, T) of ordinary numbers, and a mask whose rows are runs of True from the left."""
    lengths = draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    seed = draw(st.integers(0, 2**31))
    generator = torch.Generator().manual_seed(seed)
    shape = (len(lengths), max(lengths))
    keep = torch.arange(shape[1])[None] < torch.tensor(lengths)[:, None]
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(count)], keep


def padded(tensor: Tensor, extra: int, filler: float = 77.0) -> Tensor:
    """``extra`` columns behind, full of a number that must not matter (False for masks)."""
    value = 0.0 if tensor.dtype == torch.bool else filler
    return torch.cat([tensor, torch.full((len(tensor), extra), value, dtype=torch.float64).to(tensor.dtype)], 1)


@few
@given(batches(2), unit)
def test_gae_at_trace_one_is_return_minus_value(batch: tuple[list[Tensor], Tensor], gamma: float) -> None:
    (rewards, values), keep = batch
    found = gae(rewards, values, keep, gamma=gamma, trace=1.0)
    for index, length in enumerate(keep.sum(-1).tolist()):
        expected = torch.tensor(slow.returns_to_go(rewards[index, :length].tolist(), gamma), dtype=torch.float64)
        torch.testing.assert_close(found.returns[index, :length], expected)
        torch.testing.assert_close(found.advantages[index, :length], expected - values[index, :length])


@few
@given(batches(2), unit)
def test_gae_at_trace_zero_is_the_td_error(batch: tuple[list[Tensor], Tensor], gamma: float) -> None:
    (rewards, values), keep = batch
    found = gae(rewards, values, keep, gamma=gamma, trace=0.0)
    for index, length in enumerate(keep.sum(-1).tolist()):
        value, reward = values[index].tolist(), rewards[index].tolist()
        after = [*value[1:length], 0.0]
        errors = [reward[t] + gamma * after[t] - value[t] for t in range(length)]
        torch.testing.assert_close(found.advantages[index, :length], torch.tensor(errors, dtype=torch.float64))


@few
@given(batches(1))
def test_whitened_values_have_mean_0_and_variance_1(batch: tuple[list[Tensor], Tensor]) -> None:
    (values,), keep = batch
    if int(keep.sum()) < 2:
        return
    kept = whiten(values, keep, epsilon=0.0)[keep]
    unshifted = whiten(values, keep, epsilon=0.0, shift=False)[keep]
    assert abs(kept.mean().item()) < 1e-9
    assert abs(kept.var().item() - 1) < 1e-9
    assert abs(unshifted.var().item() - 1) < 1e-9
    assert abs(unshifted.mean().item() - values[keep].mean().item()) < 1e-9


@few
@given(batches(2), st.integers(1, 3), unit, unit)
def test_padding_changes_neither_gae_nor_statistics(
    batch: tuple[list[Tensor], Tensor], extra: int, gamma: float, trace: float
) -> None:
    (rewards, values), keep = batch
    width = keep.shape[1]
    plain = gae(rewards, values, keep, gamma=gamma, trace=trace)
    wide = gae(padded(rewards, extra), padded(values, extra), padded(keep, extra), gamma=gamma, trace=trace)
    assert torch.equal(wide.advantages[:, :width] * keep, plain.advantages)
    assert torch.equal(wide.returns[:, :width] * keep, plain.returns)
    assert not wide.advantages[:, width:].any()
    torch.testing.assert_close(masked_mean(padded(values, extra), padded(keep, extra)), masked_mean(values, keep))
    torch.testing.assert_close(
        masked_variance(padded(values, extra), padded(keep, extra)), masked_variance(values, keep)
    )
    torch.testing.assert_close(whiten(padded(values, extra), padded(keep, extra))[:, :width], whiten(values, keep))


@few
@given(batches(3), st.integers(1, 3))
def test_padding_changes_no_loss_and_gets_no_gradient(batch: tuple[list[Tensor], Tensor], extra: int) -> None:
    tensors, keep = batch
    count, width = int(keep.sum()), keep.shape[1]
    for loss in (policy_loss, value_loss):
        current = tensors[0].clone().requires_grad_()
        plain = loss(current, *tensors[1:], keep, clip=0.2, count=count)
        plain.loss.backward()
        wide = padded(tensors[0], extra).requires_grad_()
        others = [padded(tensor, extra, far) for tensor, far in zip(tensors[1:], (5.0, 90.0), strict=True)]
        outcome = loss(wide, *others, padded(keep, extra), clip=0.2, count=count)
        outcome.loss.backward()
        torch.testing.assert_close(outcome.loss, plain.loss)
        assert outcome.clipped == plain.clipped
        assert wide.grad is not None
        assert current.grad is not None
        torch.testing.assert_close(wide.grad[:, :width], current.grad)
        assert not current.grad[~keep].any()
        assert not wide.grad[:, width:].any()


@few
@given(batches(2))
def test_padding_with_unlike_logprobs_stays_finite(batch: tuple[list[Tensor], Tensor]) -> None:
    (logprobs, advantages), keep = batch
    far = torch.where(keep, logprobs, 2000.0).requires_grad_()
    outcome = policy_loss(far, logprobs, advantages, keep, clip=0.2, count=1)
    outcome.loss.backward()
    assert far.grad is not None
    assert bool(far.grad.isfinite().all())
    assert not far.grad[~keep].any()


@few
@given(batches(2))
def test_ratio_1_gives_the_plain_policy_gradient(batch: tuple[list[Tensor], Tensor]) -> None:
    (logprobs, advantages), keep = batch
    count = int(keep.sum())
    clipped = logprobs.clone().requires_grad_()
    outcome = policy_loss(clipped, logprobs, advantages, keep, clip=0.2, count=count)
    outcome.loss.backward()
    plain = logprobs.clone().requires_grad_()
    (-(plain * advantages)[keep].sum() / count).backward()
    assert clipped.grad is not None
    torch.testing.assert_close(clipped.grad, plain.grad)
    assert torch.equal(outcome.ratio, torch.ones_like(logprobs))
    assert outcome.clipped == 0


@few
@given(batches(2))
def test_k2_and_k3_are_never_negative(batch: tuple[list[Tensor], Tensor]) -> None:
    (policy, reference), _ = batch
    assert bool((kl_k2(policy, reference) >= 0).all())
    assert bool((kl_k3(policy, reference) >= -1e-12).all())


@few
@given(number, number)
def test_preferring_a_and_preferring_b_exhaust_the_probabilities(a: float, b: float) -> None:
    left, right = torch.tensor([a], dtype=torch.float64), torch.tensor([b], dtype=torch.float64)
    either = torch.exp(-preference_loss(left, right)) + torch.exp(-preference_loss(right, left))
    torch.testing.assert_close(either, torch.tensor(1.0, dtype=torch.float64))


@few
@given(st.lists(st.tuples(number, number), min_size=1, max_size=5), number)
def test_a_constant_on_both_scores_changes_no_preference(pairs: list[tuple[float, float]], constant: float) -> None:
    chosen, rejected = torch.tensor(pairs, dtype=torch.float64).T
    torch.testing.assert_close(
        preference_loss(chosen + constant, rejected + constant), preference_loss(chosen, rejected)
    )
