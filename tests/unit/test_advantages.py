"""From rewards to advantages and returns over all chunks of a rollout; ``test_functional.py`` has GAE by itself."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch

from rewardlab.config import PPOConfig
from rewardlab.training.advantages import Target, gae_targets, returns_deviation
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
