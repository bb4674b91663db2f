"""From rewards to advantages and returns over all chunks of a rollout; ``test_functional.py`` has GAE by itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from rewardlab.models.sampler import Sample
from rewardlab.online_config import GRPOConfig, PPOConfig, ReinforceConfig, RLOOConfig
from rewardlab.rewards.ledger import Shaped
from rewardlab.training.advantages import (
    Estimated,
    Target,
    gae_targets,
    grpo_targets,
    reinforce_targets,
    returns_deviation,
    rloo_targets,
)
from rewardlab.training.rollout import Rollout, SampledChunk
from rewardlab.training.shaping import Shaping

NOT_COUNTED = 100.0


def chunk(values: Sequence[Sequence[float]]) -> SampledChunk:
    """Rows of a prompt of one token and a response of as many as there are values."""
    kept = torch.ones(len(values), 1 + len(values[0]), dtype=torch.bool)
    nothing = torch.zeros(len(values), len(values[0]))
    ids = torch.zeros_like(kept, dtype=torch.long)
    return SampledChunk(list(range(len(values))), ids, kept, 1, nothing, nothing, nothing, torch.tensor(values))


def target(returns: Sequence[Sequence[float]], counts: Sequence[Sequence[bool]]) -> Target:
    """Of these returns, with advantages that nobody reads."""
    return Target(torch.zeros(len(returns), len(returns[0])), torch.tensor(counts), torch.tensor(returns))


def test_the_deviation_of_returns_is_over_counted_tokens_of_all_chunks() -> None:
    """1, 3 and 8: mean 4, squares 9 + 1 + 16 over two degrees of freedom."""
    targets = [target([[1.0, NOT_COUNTED], [3.0, NOT_COUNTED]], [[True, False]] * 2), target([[8.0]], [[True]])]
    assert returns_deviation(targets) == pytest.approx(math.sqrt(13), abs=1e-6)


@pytest.mark.parametrize("counted", [True, False])
def test_returns_that_do_not_vary_or_count_leave_the_unit(counted: bool) -> None:
    assert returns_deviation([target([[3.0, 3.0]], [[counted, counted]])]) == 1.0


def test_advantages_are_whitened_over_all_chunks_and_returns_are_not() -> None:
    """Without values and discount an advantage is the sum of the rewards from its token on: 1, 3; 5, and one of none.

    Over the counted 1, 3, 5: mean 3, variance 4, so that they become -1, 0, 1.
    """
    made = Rollout([], [], [chunk([[0.0], [0.0]]), chunk([[0.0], [0.0]])])
    counts = [torch.tensor([[True], [True]]), torch.tensor([[True], [False]])]
    shaping = Shaping([torch.tensor([[1.0], [3.0]]), torch.tensor([[5.0], [NOT_COUNTED]])], counts, [])
    white = gae_targets(made, shaping, PPOConfig(gamma=1.0, gae_lambda=1.0, whiten_advantages=True)).targets
    found = torch.cat([each.advantages.flatten() for each in white]).tolist()
    assert found == pytest.approx([-1.0, 0.0, 1.0, 0.0], abs=1e-6)
    assert [each.returns.flatten().tolist() for each in white] == [[1.0, 3.0], [5.0, NOT_COUNTED]]
    plain = gae_targets(made, shaping, PPOConfig(gamma=1.0, gae_lambda=1.0, whiten_advantages=False)).targets
    assert plain[0].advantages.flatten().tolist() == [1.0, 3.0]


# -- methods with groups -----------------------------------------------------------------------------------------------


def grouped(scores: Sequence[float | None], kls: Sequence[float] = (0.0,) * 4) -> tuple[Rollout, Shaping]:
    """Two prompts with two responses each, of two tokens; the chunks hold the rows in another order."""
    order = [[3, 0], [2, 1]]
    chunks = [replace(chunk([[0.0, 0.0]] * 2), rows=rows) for rows in order]
    counts = [torch.tensor([[scores[row] is not None] * 2 for row in rows]) for rows in order]
    shaped = [
        None if score is None else Shaped(score + kl, score, kl, 0.0) for score, kl in zip(scores, kls, strict=True)
    ]
    nothing = [torch.zeros(2, 2) for _ in order]
    return Rollout([], [Sample((1, 2), "", True)] * 4, chunks, group=2), Shaping(nothing, counts, shaped)


def by_row(found: Estimated) -> list[tuple[list[float], list[bool]]]:
    """Advantages and counts of each response, in the rollout's order."""
    rows = {
        row: (target.advantages[line].tolist(), target.counts[line].tolist())
        for part, target in zip(([3, 0], [2, 1]), found.targets, strict=True)
        for line, row in enumerate(part)
    }
    return [rows[row] for row in range(4)]


def test_all_tokens_of_a_response_have_its_advantage_and_even_groups_are_left_out() -> None:
    """3 and 1: mean 2, deviation sqrt(2); the second prompt's responses have the same score."""
    found = grpo_targets(*grouped([3.0, 1.0, 5.0, 5.0]), GRPOConfig())
    assert found.metrics == {"group/even_share": 0.5}
    first, second, *even = by_row(found)
    assert first == (pytest.approx([0.5**0.5] * 2), [True, True])
    assert second == (pytest.approx([-(0.5**0.5)] * 2), [True, True])
    assert even == [([0.0, 0.0], [False, False])] * 2
    kept = by_row(grpo_targets(*grouped([3.0, 1.0, 5.0, 5.0]), GRPOConfig(even_groups="keep")))
    assert kept[2:] == [([0.0, 0.0], [True, True])] * 2


def test_the_deviation_is_that_of_the_scores_and_not_of_totals_with_the_kl_in_them() -> None:
    """Penalties of 0 and -4 nats are centred to 2 and -2 and added after the division."""
    found = by_row(grpo_targets(*grouped([3.0, 1.0, 0.0, 1.0], [0.0, -4.0, -1.0, -1.0]), GRPOConfig(kl="reward")))
    assert found[0][0] == pytest.approx([0.5**0.5 + 2] * 2)
    assert found[1][0] == pytest.approx([-(0.5**0.5) - 2] * 2)
    assert found[2][0] == pytest.approx([-(0.5**0.5)] * 2)


def test_dr_grpo_and_rloo_differ_by_the_size_of_the_group() -> None:
    """2 / 1 times the distance from the mean, nothing whitened: scores of 3 and 1 give 1 and 2."""
    made = grouped([3.0, 1.0, 0.0, 10.0])
    centred = by_row(grpo_targets(*made, GRPOConfig(variant="dr_grpo")))
    left_out = by_row(rloo_targets(*made, RLOOConfig()))
    assert [advantages[0] for advantages, _ in centred] == [1.0, -1.0, -5.0, 5.0]
    assert [advantages[0] for advantages, _ in left_out] == [2.0, -2.0, -10.0, 10.0]


def test_a_response_without_a_score_leaves_its_group_of_two_even() -> None:
    found = rloo_targets(*grouped([3.0, None, 0.0, 1.0]), RLOOConfig())
    assert [counts for _, counts in by_row(found)] == [[False, False], [False, False], [True, True], [True, True]]
    assert found.metrics == {"group/even_share": 0.5}
    assert [advantages for advantages, _ in by_row(found)] == [[0.0] * 2, [0.0] * 2, [-1.0] * 2, [1.0] * 2]


def test_a_penalty_is_part_of_a_score_in_its_group() -> None:
    """5 less 4 and 3: 1 and 3."""
    rollout, shaping = grouped([5.0, 3.0, 0.0, 0.0])
    shaped = [Shaped(1.0, 5.0, 0.0, -4.0), *shaping.shaped[1:]]
    found = by_row(rloo_targets(rollout, replace(shaping, shaped=shaped), RLOOConfig()))
    assert [advantages[0] for advantages, _ in found[:2]] == [-2.0, 2.0]


def test_reinforce_leaves_out_what_has_no_score() -> None:
    """4, 0 and 8 less the means 2 and 8 are 2, -2 and 0 at two tokens each: variance 16 / 5."""
    rollout, shaping = grouped([4.0, 0.0, 8.0, None])
    rewards = [torch.tensor([[0.0, (4.0, 0.0, 8.0, 0.0)[row]] for row in rows]) for rows in ([3, 0], [2, 1])]
    config = ReinforceConfig(baseline="group", samples=2)
    found = by_row(reinforce_targets(rollout, replace(shaping, rewards=rewards), config))
    assert [advantages[0] for advantages, _ in found] == pytest.approx([5**0.5 / 2, -(5**0.5) / 2, 0.0, 0.0])


@pytest.mark.parametrize("baseline", ["none", "group"])
def test_reinforce_whitens_returns_over_the_batch(baseline: str) -> None:
    """Returns of (r, r) at both tokens, r = 4, 0, 8, 8; less the groups' means 2 and 8 they are 2, -2, 0 and 0."""
    scores = [4.0, 0.0, 8.0, 8.0]
    rollout, shaping = grouped(scores)
    rewards = [torch.tensor([[0.0, scores[row]] for row in rows]) for rows in ([3, 0], [2, 1])]
    config = ReinforceConfig.model_validate({"baseline": baseline, "samples": 2})
    found = reinforce_targets(rollout, replace(shaping, rewards=rewards), config)
    raw = torch.tensor(scores if baseline == "none" else [2.0, -2.0, 0.0, 0.0]).repeat_interleave(2)
    expected = (raw - raw.mean()) / raw.std()
    assert [number for advantages, _ in by_row(found) for number in advantages] == pytest.approx(expected.tolist())
    assert found.metrics == ({} if baseline == "none" else {"group/even_share": 0.5})
    assert all(counts == [True, True] for _, counts in by_row(found))
