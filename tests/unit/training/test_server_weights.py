"""Weights of tokens that a server drew, worked by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rewardlab.functional.ppo import policy_loss, truncated_ratio
from rewardlab.models.sampler import Sample
from rewardlab.training.advantages import gae_targets
from rewardlab.training.metrics import rollout_metrics, sampler_metrics
from rewardlab.training.rollout import Rollout, SampledChunk, roll_out
from rewardlab.training.shaping import shape
from tests.support.training import EXAMPLES, ppo_trainer

OLD = torch.tensor([[-1.0, -2.0, -3.0], [-1.0, -1.0, 0.0]])
DRAWN = torch.tensor([[-1.0, -2.0 - math.log(3), -3.0 + math.log(2)], [-1.0 - math.log(2), -1.0, 5.0]])
KEEP = torch.tensor([[True, True, True], [True, True, False]])


def test_the_ratio_is_ours_over_theirs_up_to_the_cap() -> None:
    ratio = truncated_ratio(OLD, DRAWN, KEEP, math.inf)
    torch.testing.assert_close(ratio, torch.tensor([[1.0, 3.0, 0.5], [2.0, 1.0, 1.0]]))
    torch.testing.assert_close(truncated_ratio(OLD, DRAWN, KEEP, 2.0), torch.tensor([[1.0, 2.0, 0.5], [2.0, 1.0, 1.0]]))


def test_a_token_of_no_probability_in_the_server_is_no_infinity() -> None:
    one = torch.ones(1, 1)
    assert float(truncated_ratio(-one, -9999.0 * one, one.bool(), math.inf)) == pytest.approx(math.exp(20), rel=1e-4)


def test_the_weight_is_a_factor_of_each_tokens_loss() -> None:
    logprobs = (OLD + 0.0).requires_grad_()
    advantages = torch.tensor([[1.0, 1.0, -2.0], [3.0, -1.0, 7.0]])
    weights = truncated_ratio(OLD, DRAWN, KEEP, 2.0)
    found = policy_loss(logprobs, OLD, advantages, KEEP, clip=0.2, count=5, importance=weights)
    # -(1 * 1 + 2 * 1 + 0.5 * -2 + 2 * 3 + 1 * -1) / 5 = -(1 + 2 - 1 + 6 - 1) / 5
    assert float(found.loss.detach()) == pytest.approx(-7 / 5)
    found.loss.backward()  # type: ignore[no-untyped-call]
    expected = torch.tensor([[-1.0, -2.0, 1.0], [-6.0, 1.0, 0.0]]) / 5
    torch.testing.assert_close(logprobs.grad, expected)


def drawn_rollout() -> Rollout:
    ids, ones = torch.zeros(2, 4, dtype=torch.long), torch.ones(2, 3)
    keep = torch.cat([torch.ones(2, 1, dtype=torch.bool), KEEP], 1)
    chunk = SampledChunk([0, 1], ids, keep, 1, OLD * KEEP, OLD * KEEP, ones, None, drawn=DRAWN * KEEP)
    return Rollout(EXAMPLES[:2], [Sample((1, 1, 1), "", True), Sample((1, 1), "", True)], [chunk])


LOGGED = {
    "sampler/ratio_mean": pytest.approx((1 + 3 + 0.5 + 2 + 1) / 5),
    "sampler/truncated_share": pytest.approx(1 / 5),  # the 3
    "sampler/difference": pytest.approx(math.sqrt((math.log(3) ** 2 + 2 * math.log(2) ** 2) / 5)),
}


def test_what_is_logged_by_hand() -> None:
    assert sampler_metrics(drawn_rollout(), cap=2.5) == LOGGED


def test_every_chunk_is_in_what_is_logged() -> None:
    """The same tokens in a chunk of each response, which are of different widths."""
    whole = drawn_rollout()
    [chunk] = whole.chunks
    parts = [
        replace(
            chunk,
            rows=[row],
            ids=chunk.ids[[row], : 1 + width],
            keep=chunk.keep[[row], : 1 + width],
            old=chunk.old[[row], :width],
            drawn=(DRAWN * KEEP)[[row], :width],
        )
        for row, width in ((0, 3), (1, 2))
    ]
    assert sampler_metrics(replace(whole, chunks=parts), cap=2.5) == LOGGED


def test_nothing_is_logged_of_a_rollout_that_was_drawn_here() -> None:
    rollout = drawn_rollout()
    here = replace(rollout, chunks=[replace(rollout.chunks[0], drawn=None)])
    assert sampler_metrics(here, cap=2.0) == {}
    assert rollout_metrics(here) == rollout_metrics(rollout)


@pytest.mark.parametrize(
    ("log_ratio", "weight", "run"),
    [
        (0.0, 1.0, {}),
        (math.log(1.5), 1.5, {}),
        (math.log(3), 2.0, {}),
        (math.log(3), 2.5, {"sampler.cap": 2.5}),
        (-math.log(2), 0.5, {}),
    ],
)
def test_the_policys_gradient_is_weighed_and_the_critics_is_not(
    tmp_path: Path, log_ratio: float, weight: float, run: dict[str, float]
) -> None:
    plain, weighed = gradients(tmp_path / "plain", None), gradients(tmp_path / "weighed", log_ratio, run)
    for name, gradient in plain.items():
        factor = weight if name.startswith("policy") else 1.0
        torch.testing.assert_close(weighed[name], factor * gradient, atol=1e-6, rtol=1e-4)
    assert any(bool(gradient.any()) for name, gradient in plain.items() if name.startswith("policy"))


def gradients(folder: Path, log_ratio: float | None, run: dict[str, float] | None = None) -> dict[str, Tensor]:
    """Of policy and critic after one backward pass, where a server gave each token that much less than we do."""
    folder.mkdir()
    trainer = ppo_trainer(folder, lambda *_: 0.0, run=run, value="adapter")
    rollout = roll_out(trainer.actor, EXAMPLES, trainer.sampling, 4, (0, 0))
    chunks = rollout.chunks
    if log_ratio is not None:
        chunks = [replace(chunk, drawn=(chunk.old - log_ratio) * chunk.response_keep) for chunk in chunks]
    scores = [float(number % 3) for number in range(len(EXAMPLES))]
    trainer.scale.update(scores)
    targets = gae_targets(rollout, shape(scores, rollout, trainer.config, trainer.scale, 0.0), trainer.config).targets
    trainer.learner._optimise = lambda name: 0.0  # type: ignore[method-assign]
    trainer.learner.update(chunks, targets, 0, 0.0)
    return {
        f"{name}.{index}": parameter.grad
        for name, optimizer in trainer.learner.optimizers.items()
        for index, parameter in enumerate(optimizer.param_groups[0]["params"])
        if parameter.grad is not None
    }
