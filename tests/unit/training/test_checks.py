"""What may differ before the first update: what the dtype's rounding explains, and no more."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from rewardlab.config import ModelConfig
from rewardlab.errors import TrainingError
from rewardlab.models import Trunk, load_trunk
from rewardlab.models.sampler import left_pad
from rewardlab.training.checks import check_start, rounding_tolerance
from rewardlab.training.rollout import roll_out
from tests.support.models import tiny_llama
from tests.support.training import EXAMPLES, ppo_trainer


def trunk_of(dtype: torch.dtype, *, is_float32: bool = False) -> Any:
    """Three layers, four wide; logits 3 and -1, then 1 and 1."""
    config = SimpleNamespace(get_text_config=lambda: SimpleNamespace(num_hidden_layers=3))
    return SimpleNamespace(
        model=SimpleNamespace(config=config),
        logits=lambda states: torch.tensor([[3.0, -1.0], [1.0, 1.0]]),
        width=4,
        dtype=dtype,
        head=SimpleNamespace(is_float32=is_float32),
    )


@pytest.mark.parametrize(
    ("dtype", "is_float32", "expected"),
    [
        # deviations over the vocabulary: sqrt(8) and 0, 1.41421 on average; largest logit 3; eps / sqrt(12) relative
        # 2^-23: 3.44127e-8 * hypot(sqrt(2 * 3 * 4) * 1.41421, 3) = 3.44127e-8 * hypot(6.92820, 3) = 2.59811e-7
        (torch.float32, False, 2 * 2.59811e-7),
        # 2^-7: 2.25527e-3 * hypot(sqrt(2 * 3) * 1.41421, 3) = 2.25527e-3 * hypot(3.46410, 3) = 1.03350e-2
        (torch.bfloat16, False, 2 * 1.03350e-2),
        # logits that are not rounded: 2.25527e-3 * 3.46410 = 7.8125e-3
        (torch.bfloat16, True, 2 * 7.8125e-3),
    ],
)
def test_by_hand(dtype: torch.dtype, is_float32: bool, expected: float) -> None:
    trunk = trunk_of(dtype, is_float32=is_float32)
    assert rounding_tolerance(trunk, torch.zeros(2, 4), 1.0) == pytest.approx(expected, rel=1e-4)
    assert rounding_tolerance(trunk, torch.zeros(2, 4), 2.0) == pytest.approx(expected / 2, rel=1e-4)


def logprobs(trunk: Trunk, rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Of each row's tokens after the first, and the states that predict them."""
    ids, keep = left_pad(rows, 0, trunk.device)
    states = trunk.hidden(ids, keep, None)
    pairs = [(state[mask][:-1], row[mask][1:]) for state, row, mask in zip(states, ids, keep, strict=True)]
    own = torch.cat([state for state, _ in pairs])
    return trunk.logprobs(own, torch.cat([tokens for _, tokens in pairs]), 1.0), own


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@torch.no_grad()
def test_rounding_in_other_batches_is_within_it(tmp_path: Path, dtype: str) -> None:
    """Rows of other lengths, and alone or together, go through other kernels."""
    model = tiny_llama(tmp_path / "model", width=64, layers=4)
    trunk = load_trunk(ModelConfig(name=str(model), device="cpu", dtype=dtype))
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randint(5, 300, (length,), generator=generator).tolist() for length in (3, 40, 17, 90, 64, 8)]
    together, states = logprobs(trunk, rows)
    alone = torch.cat([logprobs(trunk, [row])[0] for row in rows])
    off = float((together - alone).abs().max())
    tolerance = rounding_tolerance(trunk, states, 1.0)
    assert off < tolerance
    assert off > 0 or dtype == "bfloat16", "in float32 other kernels give other last bits"
    assert tolerance < {"float32": 2e-4, "bfloat16": 1.0}[dtype]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_policy_that_is_not_its_reference_is_refused(tmp_path: Path, dtype: str) -> None:
    trainer = ppo_trainer(tmp_path, lambda example, text: 1.0, run={"model.dtype": dtype})
    actor, sampling = trainer.actor, trainer.sampling
    check_start(actor, roll_out(actor, EXAMPLES, sampling, 4, (0,)))
    with torch.no_grad():
        for parameter in trainer.trunk.roles.parameters("policy"):
            parameter.add_(0.05)
    with pytest.raises(TrainingError, match="rounding explains"):
        check_start(actor, roll_out(actor, EXAMPLES, sampling, 4, (0,)))


def test_a_tenth_of_a_nat_is_refused_in_bfloat16(tmp_path: Path) -> None:
    trainer = ppo_trainer(tmp_path, lambda example, text: 1.0, run={"model.dtype": "bfloat16"})
    rollout = roll_out(trainer.actor, EXAMPLES, trainer.sampling, 4, (0,))
    for chunk in rollout.chunks:
        chunk.old.add_(0.1)
    with pytest.raises(TrainingError, match="rounding explains"):
        check_start(trainer.actor, rollout)


def test_old_probabilities_that_do_not_come_again_are_refused(tmp_path: Path) -> None:
    trainer = ppo_trainer(tmp_path, lambda example, text: 1.0)
    rollout = roll_out(trainer.actor, EXAMPLES, trainer.sampling, 4, (0,))
    for chunk in rollout.chunks:
        chunk.old.add_(1e-3)
        chunk.reference.add_(1e-3)
    with pytest.raises(TrainingError, match=r"from itself by a ratio of 0\.001"):
        check_start(trainer.actor, rollout)
