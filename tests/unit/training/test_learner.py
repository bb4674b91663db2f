"""The update on a policy of one number, whose losses and gradients can be worked by hand.

Two responses of one and three tokens, a chunk each. The policy adds ``w`` = 0 to every log-probability, so a ratio is
e^w and its slope 1; the critic says ``v`` = 0, on a shared head ``v + w``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rewardlab import processes
from rewardlab.online_config import GRPOConfig, OnlineConfig, PPOConfig
from rewardlab.training.actor import POLICY, VALUE, PolicyOutput
from rewardlab.training.advantages import Target
from rewardlab.training.learner import Learner
from rewardlab.training.rollout import SampledChunk

COUNTS = [[1, 0, 0], [1, 1, 1]]
ADVANTAGES = [[2.0, 0.0, 0.0], [3.0, 6.0, 9.0]]
SLOPES = [[1.0, 0.0, 0.0], [2.0, 4.0, 6.0]]
"""Of the entropies in ``w``; and how far log-probabilities lie above the reference's."""
RETURNS = [[5.0, 100.0, 100.0], [1.0, 1.0, 1.0]]
"""Those that count have mean 2 and standard deviation (n - 1) 2."""
RECORDED = {
    (0, 0): [[1, 3, 5], [4, 0, 2]],
    (0, 1): [[2, 1, 0], [4, 5, 3]],
    (1, 0): [[0, 4, 2], [3, 1, 5]],
}
EVEN: dict[str, Any] = {"loss_mean": "sequence", "kl_coef": 0.0, "warmup": 0.0, "minibatches": 1}


class OneNumber:
    """What :class:`Learner` needs of an actor."""

    def __init__(self, critic: str | None) -> None:
        self.critic = critic
        self.w, self.v = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
        self.asked: list[bool] = []

    def parameters(self) -> dict[str, list[nn.Parameter]]:
        return {POLICY: [self.w], **({} if self.critic is None else {VALUE: [self.v]})}

    def policy(self, chunk: SampledChunk, *, with_entropy: bool) -> PolicyOutput:
        self.asked.append(with_entropy)
        states = self.w.expand(chunk.old.shape)
        return PolicyOutput(chunk.old + states, states, chunk.entropies * states if with_entropy else None)

    def values(self, chunk: SampledChunk, states: Tensor) -> Tensor:
        return self.v + (states if self.critic == "head" else torch.zeros(chunk.old.shape))


def batch(old_value: float = 0.0) -> tuple[list[SampledChunk], list[Target]]:
    """The two responses; ``old_value`` is what the critic said when they were sampled."""
    chunks, targets = [], []
    for row in range(2):
        keep = torch.tensor([COUNTS[row]], dtype=torch.bool)
        old, slopes = torch.full((1, 3), -1.0), torch.tensor([SLOPES[row]])
        chunks.append(
            SampledChunk([row], keep.long(), keep, 0, old, old - slopes, slopes, torch.full((1, 3), old_value))
        )
        targets.append(Target(torch.tensor([ADVANTAGES[row]]), keep, torch.tensor([RETURNS[row]])))
    return chunks, targets


def learner(config: OnlineConfig, critic: str | None = None, updates: int = 1) -> Learner:
    return Learner(OneNumber(critic), config, seed=0, updates=updates, longest=10)  # type: ignore[arg-type]


def updated(config: OnlineConfig, critic: str | None = None, kl_coef: float = 0.0, old_value: float = 0.0) -> Any:
    """What one update reports."""
    return learner(config, critic).update(*batch(old_value), 0, kl_coef).means()


@pytest.mark.parametrize(
    ("settings", "loss"),
    [
        ({"loss_mean": "sequence"}, -(2 + (3 + 6 + 9) / 3) / 2),
        ({"loss_mean": "token"}, -(2 + 3 + 6 + 9) / 4),
        ({"variant": "dr_grpo"}, -(2 + 3 + 6 + 9) / (10 * 2)),
    ],
)
def test_tokens_are_weighed_as_configured(settings: dict[str, Any], loss: float) -> None:
    """Where the ratio is 1, the gradient is the loss; tokens that do not count have the ratio 1 too."""
    found = updated(GRPOConfig(**{**EVEN, **settings}))
    assert (found["policy/loss"], found["policy/grad_norm"]) == pytest.approx((loss, -loss))
    assert (found["policy/ratio_max"], found["policy/clip_share"]) == (1.0, 0.0)


def test_entropy_is_asked_for_and_rewarded_where_its_coefficient_is_not_0() -> None:
    """-4 - 0.1 * (1 + (2 + 4 + 6) / 3) / 2."""
    for coefficient, norm in ((0.0, 4.0), (0.1, 4.25)):
        made = learner(GRPOConfig(**EVEN, entropy_coef=coefficient))
        assert made.update(*batch(), 0, 0.0).means()["policy/grad_norm"] == pytest.approx(norm)
        assert made.actor.asked == [coefficient > 0] * 2  # type: ignore[attr-defined]


def test_the_kl_to_the_reference_is_subtracted_where_its_coefficient_is_not_0() -> None:
    """Of a token that lies r above the reference: e^-r - 1 + r, with the slope r; -4 + 0.2 * (1 + 12 / 3) / 2."""
    assert "policy/kl_loss" not in updated(GRPOConfig(**EVEN))
    found = updated(GRPOConfig(**EVEN), kl_coef=0.2)
    assert found["policy/grad_norm"] == pytest.approx(3.5)
    longer = (math.exp(-2) + 1 + math.exp(-4) + 3 + math.exp(-6) + 5) / 3
    assert found["policy/kl_loss"] == pytest.approx((math.exp(-1) + longer) / 2)


@pytest.mark.parametrize(("critic", "policy", "value"), [("adapter", 4.0, 2.0), ("head", 4.6, 0.6)])
def test_a_shared_critic_weighs_its_loss_and_pulls_at_the_policy(critic: str, policy: float, value: float) -> None:
    """The critic's mean error is -(5 + 1 + 1 + 1) / 4; 0.3 of it on a head, where it reaches ``w`` too."""
    found = updated(PPOConfig(**EVEN, value_coef=0.3, value_clip=10), critic)
    assert (found["policy/grad_norm"], found["value/grad_norm"]) == pytest.approx((policy, value))
    assert (found["value/loss"], found["value/clip_share"]) == pytest.approx(((25 + 1 + 1 + 1) / 4 / 2, 0.0))


def test_the_values_range_is_in_deviations_of_the_returns() -> None:
    """From -1 to 0 is further than 0.25 * 2, so each error is that of -0.5."""
    found = updated(PPOConfig(**EVEN, value_clip=0.25), "adapter", old_value=-1.0)
    assert found["value/loss"] == pytest.approx((5.5**2 + 3 * 1.5**2) / 4 / 2)
    assert (found["value/grad_norm"], found["value/clip_share"]) == (0.0, 1.0)


@pytest.mark.parametrize(("critic", "rows"), [(None, 2), ("head", 2), ("adapter", 4)])
def test_sequences_of_a_backward_pass_are_counted(critic: str | None, rows: int) -> None:
    made = learner(GRPOConfig(**EVEN) if critic is None else PPOConfig(**EVEN), critic)
    assert made.rows_back == 0
    made.update(*batch(), 0, 0.0)
    assert made.rows_back == rows


def test_each_pass_is_an_optimiser_step_with_a_gradient_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all processes: here a second one with the same gradient; Adam's first step is as long as the rate."""
    seen: list[Sequence[nn.Parameter]] = []

    def doubled(parameters: Sequence[nn.Parameter]) -> None:
        seen.append(parameters)
        for parameter in parameters:
            assert parameter.grad is not None
            parameter.grad *= 2

    monkeypatch.setattr(processes, "add_gradients", doubled)
    made = learner(PPOConfig(**EVEN, ppo_epochs=2, lr=1e-6, value_lr=2e-6, value_clip=10, final_lr=0.5), "adapter", 2)
    assert made.lr == 1e-6
    found = made.update(*batch(), 0, 0.0).means()
    assert (found["policy/grad_norm"], found["value/grad_norm"]) == pytest.approx((8.0, 4.0), rel=1e-4)
    assert len(seen) == 4
    assert made.updates == 2
    assert made.lr == pytest.approx(0.5e-6)
    # the second step is at half a cosine from 1 to 0.5: 0.75 of the rate
    assert made.actor.w.item() == pytest.approx(1.75e-6, rel=1e-3)  # type: ignore[attr-defined]
    assert made.actor.v.item() == pytest.approx(3.5e-6, rel=1e-3)  # type: ignore[attr-defined]


def test_a_minibatch_of_one_token_counts_and_one_of_none_does_not() -> None:
    chunks, targets = batch()
    nothing = Target(targets[0].advantages, torch.zeros(1, 3, dtype=torch.bool), targets[0].returns)
    for target, updates in ((targets[0], 1), (nothing, 0)):
        made = learner(GRPOConfig(**EVEN))
        made.update(chunks[:1], [target], 0, 0.0)
        assert made.updates == updates


def test_a_restored_learner_goes_on_where_the_other_was() -> None:
    made, other = (learner(GRPOConfig(**EVEN), updates=3) for _ in range(2))
    made.update(*batch(), 0, 0.0)
    other.restore(made.state())
    assert (other.updates, other.lr, other.rows_back) == (1, made.lr, 2)
    moments = other.optimizers[POLICY].state[other.actor.w]  # type: ignore[attr-defined]
    assert moments["exp_avg"].item() == pytest.approx(0.1 * -1)  # -4 is cut to the limit of the norm


def test_the_order_of_minibatches_stays_what_it_was() -> None:
    """Recorded: a resumed run of an older version deals out the same."""
    made = learner(GRPOConfig(**{**EVEN, "minibatches": 2}))
    dealt = {place: list(made._minibatches(range(6), *place)) for place in ((0, 0), (0, 1), (1, 0))}  # type: ignore[arg-type]
    assert dealt == RECORDED
